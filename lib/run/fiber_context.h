/*
 * Where a fiber stopped, and the jump from one such place to another. Private to fiber.c.
 *
 * Only what a function call preserves is kept. The SSE and x87 control words are part of that by the ABI, but nothing
 * in a worker changes them, and saving them would double the cost of a switch.
 */
#ifndef HOB_RUN_FIBER_CONTEXT_H
#define HOB_RUN_FIBER_CONTEXT_H

#include <stdint.h>

/* Not to be inlined, nor seen through: gcc's -fipa-ra would keep values in registers that the asm does not name. */
#ifdef __has_attribute
#if __has_attribute(noipa)
#define HOB_CONTEXT_SWITCH __attribute__((noinline, noipa)) static void
#endif
#endif
#ifndef HOB_CONTEXT_SWITCH
#define HOB_CONTEXT_SWITCH __attribute__((noinline)) static void
#endif

#if defined(HOB_FIBER_UCONTEXT) /* asked for, by a test of the fallback */
#define HOB_CONTEXT_PORTABLE
#elif defined(__x86_64__) && defined(__LP64__)

typedef struct hob_context {
    void *sp, *frame, *pc;
} hob_context;

/* entry finds the stack as if it had been called from address 0, with no frame above: backtraces end there. */
static inline void context_make(hob_context *context, char *stack, char *top, void (*entry)(void)) {
    (void)stack;
    void **sp = (void **)((uintptr_t)top & ~(uintptr_t)15) - 1;
    *sp = NULL;
    *context = (hob_context){.sp = sp, .frame = NULL, .pc = (void *)entry};
}

/* Nothing is pushed, so a red zone stays whole. The compiler saves the clobbered registers; rbp it will not let us
 * name. */
HOB_CONTEXT_SWITCH context_switch(hob_context *from, hob_context *to) {
    __asm__ volatile("movq %%rsp, 0(%0)\n\t"
                     "movq %%rbp, 8(%0)\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 16(%0)\n\t"
                     "movq 0(%1), %%rsp\n\t"
                     "movq 8(%1), %%rbp\n\t"
                     "jmpq *16(%1)\n"
                     "1:"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                       "cc");
}

#elif defined(__aarch64__) && defined(__LP64__)

typedef struct hob_context {
    void *sp, *frame, *link, *pc;
} hob_context;

static inline void context_make(hob_context *context, char *stack, char *top, void (*entry)(void)) {
    (void)stack;
    void *sp = (void *)((uintptr_t)top & ~(uintptr_t)15);
    *context = (hob_context){.sp = sp, .frame = NULL, .link = NULL, .pc = (void *)entry};
}

/* Jumping by way of x17 is allowed to land on a function's "bti c", and hint 38 ("bti jc") is a landing place for both.
 */
HOB_CONTEXT_SWITCH context_switch(hob_context *from, hob_context *to) {
    register hob_context *here __asm__("x0") = from;
    register hob_context *there __asm__("x1") = to;
    __asm__ volatile("mov x9, sp\n\t"
                     "adr x10, 1f\n\t"
                     "str x9, [%0]\n\t"
                     "stp x29, x30, [%0, #8]\n\t"
                     "str x10, [%0, #24]\n\t"
                     "ldr x9, [%1]\n\t"
                     "ldp x29, x30, [%1, #8]\n\t"
                     "ldr x17, [%1, #24]\n\t"
                     "mov sp, x9\n\t"
                     "br x17\n"
                     "1:\thint #38"
                     : "+r"(here), "+r"(there)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "v8", "v9", "v10",
                       "v11", "v12", "v13", "v14", "v15", "memory", "cc");
}

#else
#define HOB_CONTEXT_PORTABLE
#endif

#ifdef HOB_CONTEXT_PORTABLE
#include <ucontext.h>

/* Twenty times slower: swapcontext saves the signal mask with a system call. */
typedef ucontext_t hob_context;

static inline void context_make(hob_context *context, char *stack, char *top, void (*entry)(void)) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = (size_t)(top - stack);
    context->uc_link = NULL;
    makecontext(context, entry, 0);
}

HOB_CONTEXT_SWITCH context_switch(hob_context *from, hob_context *to) {
    swapcontext(from, to);
}
#endif

#endif
