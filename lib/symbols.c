#include "symbols.h"

#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULES 64
#define NAME_MAX_SHOWN 64

typedef struct module {
    uintptr_t base, begin, end;
    char name[NAME_MAX_SHOWN]; /* the file's, without its directory; "" for the program */
} module;

static module modules[MODULES];
static size_t module_count;

/* The program's own table, in its file, which stays mapped: searching it is slow and needs nothing. */
static struct {
    const ElfW(Sym) * symbols;
    size_t count;
    const char *names;
    size_t names_size;
} table;

/* ---- At the start ---- */

static int add_module(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    if (module_count == MODULES)
        return 1;
    module *m = &modules[module_count++];
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
    size_t length = strnlen(name, sizeof(m->name) - 1);
    memcpy(m->name, name, length);
    m->name[length] = '\0';
    m->base = info->dlpi_addr;
    m->begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD)
            continue;
        uintptr_t begin = m->base + segment->p_vaddr, end = begin + segment->p_memsz;
        m->begin = begin < m->begin ? begin : m->begin;
        m->end = end > m->end ? end : m->end;
    }
    return 0;
}

static bool lies_within(size_t offset, size_t size, size_t whole) {
    return offset <= whole && size <= whole - offset;
}

static bool use_section(const char *file, size_t size, const ElfW(Shdr) * sections, size_t count, uint32_t type) {
    for (size_t i = 0; i < count; i++) {
        const ElfW(Shdr) *symbols = &sections[i];
        if (symbols->sh_type != type || symbols->sh_link >= count)
            continue;
        const ElfW(Shdr) *names = &sections[symbols->sh_link];
        if (!lies_within(symbols->sh_offset, symbols->sh_size, size) ||
            !lies_within(names->sh_offset, names->sh_size, size))
            continue;
        table.symbols = (const void *)(file + symbols->sh_offset);
        table.names = file + names->sh_offset;
        table.names_size = names->sh_size;
        table.count = symbols->sh_size / sizeof(ElfW(Sym));
        return true;
    }
    return false;
}

static void use_table(const char *file, size_t size) {
    const ElfW(Ehdr) *header = (const void *)file;
    if (size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_shentsize != sizeof(ElfW(Shdr)) ||
        !lies_within(header->e_shoff, header->e_shnum * sizeof(ElfW(Shdr)), size))
        return;
    const ElfW(Shdr) *sections = (const void *)(file + header->e_shoff);
    if (!use_section(file, size, sections, header->e_shnum, SHT_SYMTAB)) /* stripped: what is exported remains */
        (void)use_section(file, size, sections, header->e_shnum, SHT_DYNSYM);
}

void hob__symbols_open(void) {
    struct stat status;
    if (module_count > 0)
        return;
    (void)dl_iterate_phdr(add_module, NULL);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
        void *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file != MAP_FAILED)
            use_table(file, (size_t)status.st_size);
    }
    close(fd);
}

/* ---- Later ---- */

static const module *module_of(uintptr_t address) {
    for (size_t i = 0; i < module_count; i++)
        if (address >= modules[i].begin && address < modules[i].end)
            return &modules[i];
    return NULL;
}

static const ElfW(Sym) * symbol_at(uintptr_t value) {
    for (size_t i = 0; i < table.count; i++) {
        const ElfW(Sym) *symbol = &table.symbols[i];
        bool function = ELF64_ST_TYPE(symbol->st_info) == STT_FUNC; /* the same in 32 bits */
        if (function && value - symbol->st_value < symbol->st_size && symbol->st_name < table.names_size)
            return symbol;
    }
    return NULL;
}

static size_t put_text(char *out, size_t at, const char *text) {
    while (*text != '\0' && at < NAME_MAX_SHOWN)
        out[at++] = *text++;
    return at;
}

static size_t put_hex(char *out, size_t at, uintptr_t value) {
    int digits = 1;
    while (digits < 16 && value >> (4 * digits) != 0)
        digits++;
    out[at++] = '0';
    out[at++] = 'x';
    while (digits-- > 0)
        out[at++] = "0123456789abcdef"[value >> (4 * digits) & 15];
    return at;
}

_Static_assert(NAME_MAX_SHOWN + sizeof("+0x0123456789abcdef") <= HOB_SYMBOL_SIZE, "name, offset and NUL fit");

hob_text hob__symbol_of(const void *address, char out[HOB_SYMBOL_SIZE]) {
    uintptr_t offset = (uintptr_t)address;
    const module *m = module_of(offset);
    size_t size = 0;
    if (m != NULL) {
        offset -= m->base;
        const ElfW(Sym) *symbol = m == modules ? symbol_at(offset) : NULL; /* the program is the first module */
        size = put_text(out, 0, symbol != NULL ? table.names + symbol->st_name : m == modules ? "program" : m->name);
        offset -= symbol != NULL ? symbol->st_value : 0;
    }
    if (size > 0 && offset != 0)
        out[size++] = '+';
    if (size == 0 || offset != 0)
        size = put_hex(out, size, offset);
    out[size] = '\0';
    return (hob_text){out, size};
}
