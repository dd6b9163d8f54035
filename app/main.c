#include "users_api.h"

int main(int argc, char **argv) {
    return hob_main(users_api(), argc, argv);
}
