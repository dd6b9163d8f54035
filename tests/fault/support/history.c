/* Items, read and written as an application should. */
#include "items.h"

int main(int argc, char **argv) {
    return hob_main(items_new(get_item, put_item), argc, argv);
}
