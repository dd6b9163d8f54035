/* The ways a request comes in: FastCGI (fcgi.c), one CGI request (cgi.c), a test in-process (recorder.c). */
#ifndef HOB_FRONT_FRONT_H
#define HOB_FRONT_FRONT_H

#include "handler/services.h"

typedef struct hob_front hob_front;

/* Serves the listening socket fd on the services' loop; FCGX_Init has been called. NULL: errno says why. */
hob_front *hob__fcgi_open(hob_services *services, int fd) HOB_MUST_CHECK;
void hob__fcgi_stop_accepting(hob_front *front);      /* kept connections are still served */
size_t hob__fcgi_connections(const hob_front *front); /* that are open */
/* Closes what is left, at the end of draining: idle connections at once, the others as soon as their cancelled requests
 * have ended. */
void hob__fcgi_close(hob_front *front);
void hob__fcgi_free(hob_front *front); /* not while it is busy */

/* One request from environ and stdin to stdout (RFC 3875), which is closed behind the answer; a signal to end cancels
 * it. The exit status. */
int hob__cgi_run(hob_services *services);

#endif
