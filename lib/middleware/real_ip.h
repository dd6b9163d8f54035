/* HOB_TRUSTED_PROXIES: which peers may say whom they speak for. */
#ifndef HOB_MIDDLEWARE_REAL_IP_H
#define HOB_MIDDLEWARE_REAL_IP_H

#include "hob.h"

#define HOB_TRUSTED_PROXIES_MAX 64 /* entries */

/* list: addresses and CIDR blocks (IPv4, IPv6) with a comma between, "unix:" for peers that have no address; NULL and
 * "" are good and empty. false: *bad is where in list its first bad entry begins. hob_real_ip trusts nobody by a list
 * that is not good. */
bool hob__trusted_proxies_good(const char *list, const char **bad) HOB_MUST_CHECK;

#endif
