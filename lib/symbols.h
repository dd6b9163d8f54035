/* Names for code addresses, static functions too, to be looked up in a signal handler. */
#ifndef HOB_SYMBOLS_H
#define HOB_SYMBOLS_H

#include "hob.h"

#define HOB_SYMBOL_SIZE 96

void hob__symbols_open(void); /* once, at the start; without it, or without a symbol table, there are only numbers */
/* "name" or "name+0x1f" in this program, "libc.so.6+0x29f3b" in a library, "0x7f3a52" elsewhere; a long name is cut.
 * NUL behind it. */
hob_text hob__symbol_of(const void *address, char out[HOB_SYMBOL_SIZE]);

#endif
