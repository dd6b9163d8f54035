/* What AddressSanitizer, LeakSanitizer and valgrind must be told of stacks that they did not make. Private to fiber.c.
 */
#ifndef HOB_RUN_FIBER_ANNOTATE_H
#define HOB_RUN_FIBER_ANNOTATE_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define HOB_FIBER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HOB_FIBER_ASAN
#endif
#endif

#ifdef HOB_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

/* Before a switch to the stack given; *fake keeps the fake stack of the side that is left, NULL ends it. */
static inline void annotate_leave(void **fake, const void *stack, size_t size) {
    __sanitizer_start_switch_fiber(fake, stack, size);
}

/* After it, on the other side; *stack and *size become those of the side that was left. */
static inline void annotate_arrive(void *fake, const void **stack, size_t *size) {
    __sanitizer_finish_switch_fiber(fake, stack, size);
}

/* A stack that begins a life: frames that never returned in its last one left it poisoned. What it points to is no
 * leak. */
static inline void annotate_begin(void *stack, size_t size) {
    __asan_unpoison_memory_region(stack, size);
    __lsan_register_root_region(stack, size);
}

static inline void annotate_end(void *stack, size_t size) {
    __lsan_unregister_root_region(stack, size);
    __asan_unpoison_memory_region(stack, size);
}
#else
static inline void annotate_leave(void **fake, const void *stack, size_t size) {
    (void)fake, (void)stack, (void)size;
}

static inline void annotate_arrive(void *fake, const void **stack, size_t *size) {
    (void)fake, (void)stack, (void)size;
}

static inline void annotate_begin(void *stack, size_t size) {
    (void)stack, (void)size;
}

static inline void annotate_end(void *stack, size_t size) {
    (void)stack, (void)size;
}
#endif

#ifdef __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end) 0u
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#endif
