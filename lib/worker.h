/* One process that serves requests: what the command line starts. */
#ifndef HOB_WORKER_H
#define HOB_WORKER_H

#include "base/config.h"

/* FastCGI on the listening socket fd 0, until it is told to stop and has drained. false when it could not start: one
 * line in error. */
bool hob__worker_run(hob_app *app, const hob_config *config, char error[256]) HOB_MUST_CHECK;
/* Plain CGI, once. false likewise. */
bool hob__worker_run_once(hob_app *app, const hob_config *config, char error[256]) HOB_MUST_CHECK;

#endif
