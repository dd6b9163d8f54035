/* What web servers pass, as they were seen to (nginx 1.22.1, Apache 2.4.71, lighttpd 1.4.69, Caddy 2.6.2, h2o 2.2.5,
 * HAProxy 2.6.12), and what becomes of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "environment_fixture.h"

#define STRINGS 32 /* of one environment, with the NULL behind them */

static bool same(hob_text got, const char *wanted) {
    return wanted ? got.data && hob_text_equal(got, hob_text_of(wanted)) : got.data == NULL;
}

static void check(const char *row, const char *what, hob_text got, const char *wanted) {
    if (!same(got, wanted))
        fail_msg("%s: %s is '" HOB_FMT "', not '%s'", row, what, HOB_ARG(got), wanted ? wanted : "(no text)");
}

/* ---- One request behind each server ---- */

/*
 *     POST /shop/a%2Fb/caf%C3%A9?limit=2&x=%20 HTTP/1.1
 *     Host: api.example
 *     Content-Type: application/json
 *     Content-Length: 2
 *     X-Tag: a
 *     X-Tag: b
 *     Cookie: k=1
 *     Cookie: l=2
 *     x-lower: l
 *     Proxy: http://evil/
 *     Content_Length: 99
 *     X-Empty:
 *     Authorization: Bearer t
 *
 *     {}
 *
 * with all that may say something of it; the server, its software and its files are left out.
 */
static const struct capture {
    const char *server;
    char *environment[STRINGS];
    bool authorization; /* is passed, as configured */
    const char *cookie; /* joined by the server in its own way; NULL: "k=1; l=2" */
} captures[] = {
    {.server = "nginx, conf/nginx/hob-fastcgi.conf, underscores_in_headers on",
     .environment = {"REQUEST_METHOD=POST", "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "QUERY_STRING=limit=2&x=%20", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=2",
                     "GATEWAY_INTERFACE=CGI/1.1", "REMOTE_ADDR=127.0.0.1", "HTTP_HOST=api.example",
                     "HTTP_CONTENT_TYPE=application/json", "HTTP_CONTENT_LENGTH=2", "HTTP_X_TAG=a", "HTTP_X_TAG=b",
                     "HTTP_COOKIE=k=1", "HTTP_COOKIE=l=2", "HTTP_X_LOWER=l", "HTTP_PROXY=http://evil/",
                     "HTTP_CONTENT_LENGTH=99", "HTTP_X_EMPTY=", "HTTP_AUTHORIZATION=Bearer t"},
     .authorization = true},
    {.server = "nginx, Debian's fastcgi_params",
     .environment = {"QUERY_STRING=limit=2&x=%20",
                     "REQUEST_METHOD=POST",
                     "CONTENT_TYPE=application/json",
                     "CONTENT_LENGTH=2",
                     "SCRIPT_NAME=/shop/a/b/caf\xc3\xa9",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "DOCUMENT_URI=/shop/a/b/caf\xc3\xa9",
                     "GATEWAY_INTERFACE=CGI/1.1",
                     "REMOTE_ADDR=127.0.0.1",
                     "REMOTE_USER=",
                     "REDIRECT_STATUS=200",
                     "HTTP_HOST=api.example",
                     "HTTP_CONTENT_TYPE=application/json",
                     "HTTP_CONTENT_LENGTH=2",
                     "HTTP_X_TAG=a",
                     "HTTP_X_TAG=b",
                     "HTTP_COOKIE=k=1",
                     "HTTP_COOKIE=l=2",
                     "HTTP_X_LOWER=l",
                     "HTTP_PROXY=http://evil/",
                     "HTTP_X_EMPTY=",
                     "HTTP_AUTHORIZATION=Bearer t"},
     .authorization = true},
    {.server = "Apache, mod_fcgid",
     .environment = {"HTTP_HOST=api.example", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=2", "HTTP_X_TAG=a, b",
                     "HTTP_COOKIE=k=1, l=2", "HTTP_X_LOWER=l", "HTTP_X_EMPTY=", "HTTP_AUTHORIZATION=Bearer t",
                     "REMOTE_ADDR=127.0.0.1", "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST",
                     "QUERY_STRING=limit=2&x=%20", "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "SCRIPT_NAME=/shop", "PATH_INFO=/a%2Fb/caf\xc3\xa9"},
     .authorization = true,
     .cookie = "k=1, l=2"},
    {.server = "Apache, mod_proxy_fcgi",
     .environment = {"HTTP_HOST=api.example", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=2", "HTTP_X_TAG=a, b",
                     "HTTP_COOKIE=k=1, l=2", "HTTP_X_LOWER=l", "HTTP_X_EMPTY=", "REMOTE_ADDR=127.0.0.1",
                     "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST", "QUERY_STRING=limit=2&x=%20",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20", "SCRIPT_NAME=/shop/a%2Fb/caf\xc3\xa9"},
     .cookie = "k=1, l=2"},
    {.server = "Apache, mod_cgid",
     .environment = {"HTTP_HOST=api.example", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=2", "HTTP_X_TAG=a, b",
                     "HTTP_COOKIE=k=1, l=2", "HTTP_X_LOWER=l", "HTTP_X_EMPTY=", "PATH=/usr/bin",
                     "REMOTE_ADDR=127.0.0.1", "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST",
                     "QUERY_STRING=limit=2&x=%20", "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "SCRIPT_NAME=/shop", "PATH_INFO=/a%2Fb/caf\xc3\xa9"},
     .cookie = "k=1, l=2"},
    {.server = "lighttpd, fastcgi.server on \"/\"",
     .environment = {"CONTENT_LENGTH=2", "QUERY_STRING=limit=2&x=%20",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "REDIRECT_URI=/shop/a/b/caf%C3%A9?limit=2&x=%20", "REDIRECT_STATUS=200", "SCRIPT_NAME=/shop",
                     "PATH_INFO=/a/b/caf\xc3\xa9", "REQUEST_METHOD=POST", "GATEWAY_INTERFACE=CGI/1.1",
                     "REMOTE_ADDR=127.0.0.1", "HTTP_HOST=api.example", "CONTENT_TYPE=application/json",
                     "HTTP_CONTENT_LENGTH=2", "HTTP_X_TAG=a, b", "HTTP_COOKIE=k=1; l=2", "HTTP_X_LOWER=l",
                     "HTTP_CONTENT_LENGTH=99", "HTTP_AUTHORIZATION=Bearer t"},
     .authorization = true},
    {.server = "lighttpd, fix-root-scriptname",
     .environment = {"CONTENT_LENGTH=2", "QUERY_STRING=limit=2&x=%20",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "REDIRECT_URI=/shop/a/b/caf%C3%A9?limit=2&x=%20", "REDIRECT_STATUS=200",
                     "SCRIPT_NAME=", "PATH_INFO=/shop/a/b/caf\xc3\xa9", "REQUEST_METHOD=POST",
                     "GATEWAY_INTERFACE=CGI/1.1", "REMOTE_ADDR=127.0.0.1", "HTTP_HOST=api.example",
                     "CONTENT_TYPE=application/json", "HTTP_CONTENT_LENGTH=2", "HTTP_X_TAG=a, b",
                     "HTTP_COOKIE=k=1; l=2", "HTTP_X_LOWER=l", "HTTP_CONTENT_LENGTH=99", "HTTP_AUTHORIZATION=Bearer t"},
     .authorization = true},
    {.server = "Caddy",
     .environment = {"REQUEST_METHOD=POST",
                     "PATH_INFO=/shop/a/b/caf\xc3\xa9",
                     "QUERY_STRING=limit=2&x=%20",
                     "REMOTE_USER=",
                     "GATEWAY_INTERFACE=CGI/1.1",
                     "SCRIPT_NAME=",
                     "HTTP_PROXY=http://evil/",
                     "HTTP_CONTENT_LENGTH=99",
                     "HTTP_USER_AGENT=",
                     "HTTP_X_TAG=a, b",
                     "HTTP_X_LOWER=l",
                     "HTTP_AUTHORIZATION=Bearer t",
                     "REMOTE_ADDR=127.0.0.1",
                     "CONTENT_LENGTH=2",
                     "CONTENT_TYPE=application/json",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "HTTP_CONTENT_TYPE=application/json",
                     "AUTH_TYPE=",
                     "HTTP_HOST=api.example",
                     "HTTP_COOKIE=k=1, l=2",
                     "HTTP_X_EMPTY=",
                     "DOCUMENT_URI="},
     .authorization = true,
     .cookie = "k=1, l=2"},
    {.server = "Caddy, handle_path /shop*",
     .environment = {"SCRIPT_NAME=",
                     "HTTP_USER_AGENT=",
                     "AUTH_TYPE=",
                     "HTTP_CONTENT_TYPE=application/json",
                     "CONTENT_TYPE=application/json",
                     "HTTP_AUTHORIZATION=Bearer t",
                     "HTTP_HOST=api.example",
                     "HTTP_CONTENT_LENGTH=99",
                     "PATH_INFO=/a/b/caf\xc3\xa9",
                     "REMOTE_USER=",
                     "QUERY_STRING=limit=2&x=%20",
                     "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "CONTENT_LENGTH=2",
                     "REMOTE_ADDR=127.0.0.1",
                     "REQUEST_METHOD=POST",
                     "HTTP_X_LOWER=l",
                     "HTTP_PROXY=http://evil/",
                     "HTTP_X_TAG=a, b",
                     "HTTP_X_EMPTY=",
                     "GATEWAY_INTERFACE=CGI/1.1",
                     "HTTP_COOKIE=k=1, l=2"},
     .authorization = true,
     .cookie = "k=1, l=2"},
    {.server = "h2o",
     .environment = {"CONTENT_LENGTH=2", "SCRIPT_NAME=", "PATH_INFO=/shop/a/b/caf\xc3\xa9",
                     "QUERY_STRING=limit=2&x=%20", "REMOTE_ADDR=127.0.0.1", "REQUEST_METHOD=POST",
                     "HTTP_HOST=api.example", "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "CONTENT_TYPE=application/json", "HTTP_X_TAG=a", "HTTP_X_TAG=b", "HTTP_X_LOWER=l",
                     "HTTP_PROXY=http://evil/", "HTTP_CONTENT_LENGTH=99",
                     "HTTP_X_EMPTY=", "HTTP_AUTHORIZATION=Bearer t", "HTTP_COOKIE=k=1;l=2"},
     .authorization = true,
     .cookie = "k=1;l=2"},
    {.server = "HAProxy",
     .environment = {"HTTP_HOST=api.example", "CONTENT_TYPE=application/json", "CONTENT_LENGTH=2", "HTTP_X_TAG=a",
                     "HTTP_X_TAG=b", "HTTP_COOKIE=k=1", "HTTP_COOKIE=l=2", "HTTP_X_LOWER=l",
                     "HTTP_X_EMPTY=", "AUTH_TYPE=Bearer", "GATEWAY_INTERFACE=CGI/1.1",
                     "SCRIPT_NAME=/shop/a/b/caf\xc3\xa9", "REQUEST_URI=/shop/a%2Fb/caf%C3%A9?limit=2&x=%20",
                     "REQUEST_METHOD=POST", "QUERY_STRING=limit=2&x=%20", "REMOTE_ADDR=127.0.0.1"}},
};

static void check_header(const struct capture *capture, const char *name, const char *wanted) {
    check(capture->server, name, hob__request_header(&request, hob_text_of(name)), wanted);
}

static void one_request_is_the_same_behind_each_server(void **state) {
    (void)state;
    for (const struct capture *c = captures; c < captures + sizeof captures / sizeof *captures; c++) {
        read_with("/shop", c->environment);
        assert_int_equal(request.fault, HOB_REQUEST_GOOD);
        assert_int_equal(request.method, HOB_POST);
        assert_int_equal(request.content_length, 2);
        check(c->server, "method", request.method_name, "POST");
        check(c->server, "target", request.target, "/shop/a%2Fb/caf%C3%A9?limit=2&x=%20");
        check(c->server, "path", request.path, "/a/b/caf\xc3\xa9");
        check(c->server, "route_path", request.route_path, "/a\377b/caf\xc3\xa9");
        check(c->server, "query", request.query, "limit=2&x=%20");
        check(c->server, "content_type", request.content_type, "application/json");
        check(c->server, "peer", request.peer, "127.0.0.1");
        check_header(c, "Content-Type", "application/json");
        check_header(c, "Content-Length", "2");
        check_header(c, "Host", "api.example");
        check_header(c, "X-Tag", "a, b");
        check_header(c, "X-Lower", "l");
        check_header(c, "Cookie", c->cookie ? c->cookie : "k=1; l=2");
        check_header(c, "Authorization", c->authorization ? "Bearer t" : NULL);
        check_header(c, "Proxy", NULL);
        assert_int_equal(hob__request_header(&request, HOB_TEXT("X-Empty")).size, 0);
    }
}

/* ---- The differences, one by one ---- */

#define NOWHERE "(nowhere)" /* a route_path without text: no route is found */

static const struct row {
    const char *server, *passes; /* who, and what is particular about it */
    char *environment[STRINGS];
    const char *mount;
    hob_request_fault fault;
    const char *path;       /* NULL: not looked at, as all that follow */
    const char *route_path; /* NULL: the path */
    const char *query;
    int64_t content_length;  /* 0: not looked at */
    const char *header, *is; /* a header's name and what it must be; NULL: absent */
} rows[] = {
    /* -- the path -- */
    {.server = "nginx, HAProxy, mod_proxy_fcgi",
     .passes = "the whole path in SCRIPT_NAME",
     .environment = {"REQUEST_URI=/api/v1/users/1?limit=2", "SCRIPT_NAME=/api/v1/users/1", "QUERY_STRING=limit=2"},
     .path = "/api/v1/users/1",
     .query = "limit=2"},
    {.server = "h2o, Caddy, lighttpd (fix-root-scriptname), mod_fcgid and mod_cgid on \"/\"",
     .passes = "the whole path in PATH_INFO",
     .environment = {"REQUEST_URI=/api/v1/users/1?limit=2", "SCRIPT_NAME=", "PATH_INFO=/api/v1/users/1"},
     .path = "/api/v1/users/1",
     .query = "limit=2"},
    {.server = "lighttpd on \"/\"",
     .passes = "the path split behind its first segment",
     .environment = {"REQUEST_URI=/api/v1/users/1", "SCRIPT_NAME=/api", "PATH_INFO=/v1/users/1"},
     .path = "/api/v1/users/1"},
    {.server = "Apache, mod_cgid behind mod_rewrite",
     .passes = "the script's own name",
     .environment = {"REQUEST_URI=/api/v1/users?x=1", "SCRIPT_NAME=/cgi-bin/users-api", "PATH_INFO=/api/v1/users",
                     "REDIRECT_URL=/api/v1/users", "REDIRECT_QUERY_STRING=x=1", "REDIRECT_STATUS=200"},
     .path = "/api/v1/users",
     .query = "x=1"},
    {.server = "Apache, ErrorDocument",
     .passes = "another method and query than the client sent",
     .environment = {"REQUEST_METHOD=GET", "REDIRECT_REQUEST_METHOD=POST", "REQUEST_URI=/nope?x=1",
                     "QUERY_STRING=", "SCRIPT_NAME=/cgi-bin/users-api", "PATH_INFO=/err", "REDIRECT_QUERY_STRING=x=1"},
     .path = "/nope",
     .query = "x=1"},
    {.server = "any that knows RFC 3875 only",
     .passes = "no REQUEST_URI",
     .environment = {"SCRIPT_NAME=/cgi-bin/users-api", "PATH_INFO=/api/v1/users", "QUERY_STRING=limit=2"},
     .mount = "/cgi-bin/users-api",
     .path = "/api/v1/users",
     .query = "limit=2"},
    {.server = "any that knows RFC 3875 only",
     .passes = "no REQUEST_URI, and a decoded path",
     .environment = {"REQUEST_URI=", "SCRIPT_NAME=", "PATH_INFO=/a%20b"},
     .path = "/a%20b"},
    {.server = "HAProxy",
     .passes = "no QUERY_STRING when it is empty",
     .environment = {"REQUEST_URI=/ping", "SCRIPT_NAME=/ping"},
     .path = "/ping"},
    {.server = "Apache, h2o, HAProxy",
     .passes = "an absolute REQUEST_URI as it came",
     .environment = {"REQUEST_URI=http://api.example/api/v1/users?x=1", "SCRIPT_NAME=/api/v1/users"},
     .path = "/api/v1/users",
     .query = "x=1"},
    {.server = "h2o",
     .passes = "OPTIONS *",
     .environment = {"REQUEST_METHOD=OPTIONS", "REQUEST_URI=*", "SCRIPT_NAME=", "PATH_INFO=/*"},
     .fault = HOB_REQUEST_BAD_PATH},
    {.server = "nginx, lighttpd, h2o",
     .passes = "a fragment, which no client may send",
     .environment = {"REQUEST_URI=/ping#x", "SCRIPT_NAME=/ping"},
     .path = "/ping#x"},
    {.server = "all but HAProxy",
     .passes = "UTF-8 that is not encoded",
     .environment = {"REQUEST_URI=/caf\xc3\xa9", "SCRIPT_NAME=/caf\xc3\xa9"},
     .path = "/caf\xc3\xa9"},
    {.server = "h2o, HAProxy",
     .passes = "an encoded NUL",
     .environment = {"REQUEST_URI=/a%00b", "SCRIPT_NAME=/a"},
     .fault = HOB_REQUEST_BAD_PATH},
    {.server = "all but lighttpd",
     .passes = "encoded bytes that are not UTF-8",
     .environment = {"REQUEST_URI=/a%FFb", "SCRIPT_NAME=/a\xff"
                                           "b"},
     .fault = HOB_REQUEST_BAD_PATH},
    {.server = "nginx, HAProxy, lighttpd, Caddy, h2o",
     .passes = "encoded slashes decoded beside REQUEST_URI",
     .environment = {"REQUEST_URI=/users/a%2Fb", "SCRIPT_NAME=/users/a/b"},
     .path = "/users/a/b",
     .route_path = "/users/a\377b"},
    /* -- what servers resolve for their own rules -- */
    {.server = "nginx, Apache, lighttpd",
     .passes = "\"//\" merged beside REQUEST_URI",
     .environment = {"REQUEST_URI=//shop//api", "SCRIPT_NAME=/shop/api"},
     .mount = "/shop",
     .path = "//shop//api",
     .route_path = NOWHERE},
    {.server = "nginx, Apache, lighttpd, h2o",
     .passes = "dot segments removed beside REQUEST_URI",
     .environment = {"REQUEST_URI=/open/../closed", "SCRIPT_NAME=/closed"},
     .path = "/open/../closed",
     .route_path = NOWHERE},
    {.server = "HAProxy, Caddy",
     .passes = "dot segments everywhere",
     .environment = {"REQUEST_URI=/api/./x", "SCRIPT_NAME=/api/./x"},
     .path = "/api/./x",
     .route_path = NOWHERE},
    {.server = "nginx, lighttpd",
     .passes = "encoded dot segments removed beside REQUEST_URI",
     .environment = {"REQUEST_URI=/open/%2e%2E%2Fclosed", "SCRIPT_NAME=/closed"},
     .path = "/open/../closed",
     .route_path = NOWHERE},
    {.server = "all",
     .passes = "names that only begin or end with dots",
     .environment = {"REQUEST_URI=/.well-known/..a/b../c."},
     .path = "/.well-known/..a/b../c."},
    /* -- the mount -- */
    {.server = "nginx, HAProxy, mod_proxy_fcgi",
     .passes = "the mount in SCRIPT_NAME",
     .environment = {"REQUEST_URI=/shop/ping", "SCRIPT_NAME=/shop/ping"},
     .mount = "/shop",
     .path = "/ping"},
    {.server = "mod_fcgid, mod_cgid, lighttpd",
     .passes = "the mount as SCRIPT_NAME",
     .environment = {"REQUEST_URI=/shop/ping", "SCRIPT_NAME=/shop", "PATH_INFO=/ping"},
     .mount = "/shop",
     .path = "/ping"},
    {.server = "Caddy, handle_path",
     .passes = "the mount in REQUEST_URI alone",
     .environment = {"REQUEST_URI=/shop/ping", "SCRIPT_NAME=", "PATH_INFO=/ping"},
     .mount = "/shop",
     .path = "/ping"},
    {.server = "all",
     .passes = "the mount itself",
     .environment = {"REQUEST_URI=/shop?x", "SCRIPT_NAME=/shop"},
     .mount = "/shop/",
     .path = "/",
     .query = "x"},
    {.server = "all",
     .passes = "the mount as the client encoded it",
     .environment = {"REQUEST_URI=/%73hop/ping", "SCRIPT_NAME=/shop", "PATH_INFO=/ping"},
     .mount = "/shop",
     .path = "/ping"},
    {.server = "all",
     .passes = "a mount that needs encoding",
     .environment = {"REQUEST_URI=/caf%c3%a9/ping"},
     .mount = "/caf%C3%A9",
     .path = "/ping"},
    {.server = "a server that takes the mount off REQUEST_URI",
     .passes = "a path that is not below HOB_MOUNT",
     .environment = {"REQUEST_URI=/ping", "SCRIPT_NAME=/shop", "PATH_INFO=/ping"},
     .mount = "/shop",
     .path = "/ping",
     .route_path = NOWHERE},
    /* -- the body -- */
    {.server = "nginx",
     .passes = "empty CONTENT_LENGTH and CONTENT_TYPE",
     .environment = {"CONTENT_LENGTH=", "CONTENT_TYPE="},
     .content_length = -1,
     .header = "Content-Type"},
    {.server = "h2o, mod_proxy_fcgi, mod_cgid",
     .passes = "no CONTENT_LENGTH",
     .environment = {"REQUEST_METHOD=GET"},
     .content_length = -1,
     .header = "Content-Length"},
    {.server = "mod_cgid",
     .passes = "a chunked body without its length",
     .environment = {"REQUEST_METHOD=POST", "HTTP_TRANSFER_ENCODING=chunked"},
     .content_length = -1,
     .header = "Transfer-Encoding",
     .is = "chunked"},
    {.server = "Caddy",
     .passes = "a chunked body as CONTENT_LENGTH=-1",
     .environment = {"REQUEST_METHOD=POST", "CONTENT_LENGTH=-1"},
     .content_length = -1,
     .header = "Content-Length"},
    {.server = "nginx",
     .passes = "a chunked body with the length it found",
     .environment = {"REQUEST_METHOD=POST", "CONTENT_LENGTH=5", "HTTP_TRANSFER_ENCODING=chunked"},
     .content_length = 5,
     .header = "Content-Length",
     .is = "5"},
    {.server = "nginx, lighttpd, Caddy, h2o",
     .passes = "Content_Length and Content_Type of the client's",
     .environment = {"CONTENT_LENGTH=2", "HTTP_CONTENT_LENGTH=99", "CONTENT_TYPE=application/json",
                     "HTTP_CONTENT_TYPE=a/b"},
     .content_length = 2,
     .header = "Content-Type",
     .is = "application/json"},
    {.server = "h2o",
     .passes = "the client's Content_Length without a body",
     .environment = {"HTTP_CONTENT_LENGTH=99", "HTTP_CONTENT_TYPE=a/b"},
     .content_length = -1,
     .header = "Content-Length"},
    {.server = "all",
     .passes = "HEAD as it is",
     .environment = {"REQUEST_METHOD=HEAD", "REQUEST_URI=/ping"},
     .path = "/ping"},
    /* -- several of one name -- */
    {.server = "nginx, h2o, HAProxy",
     .passes = "a variable for each header",
     .environment = {"HTTP_ACCEPT=a/b", "HTTP_X_FORWARDED_FOR=192.0.2.1", "HTTP_ACCEPT=c/d",
                     "HTTP_X_FORWARDED_FOR=192.0.2.2", "HTTP_ACCEPT=e/f"},
     .header = "Accept",
     .is = "a/b, c/d, e/f"},
    {.server = "Apache, Caddy, lighttpd",
     .passes = "them joined",
     .environment = {"HTTP_ACCEPT=a/b, c/d, e/f"},
     .header = "Accept",
     .is = "a/b, c/d, e/f"},
    {.server = "nginx, HAProxy",
     .passes = "a variable for each cookie",
     .environment = {"HTTP_COOKIE=k=1", "HTTP_COOKIE=l=2"},
     .header = "Cookie",
     .is = "k=1; l=2"},
    {.server = "nginx, h2o",
     .passes = "empty ones between them",
     .environment = {"HTTP_X_TAG=", "HTTP_X_TAG=a", "HTTP_X_TAG=", "HTTP_X_TAG=b"},
     .header = "X-Tag",
     .is = "a, b"},
    {.server = "nginx (underscores_in_headers), lighttpd, h2o",
     .passes = "X_Tag and X-Tag under one name",
     .environment = {"HTTP_X_TAG=under", "HTTP_X_TAG=dash"},
     .header = "X-Tag",
     .is = "under, dash"},
    {.server = "h2o, HAProxy",
     .passes = "CONTENT_TYPE twice: it is none then, as with those who join",
     .environment = {"CONTENT_TYPE=application/json", "CONTENT_TYPE=text/plain"},
     .header = "Content-Type",
     .is = "application/json, text/plain"},
    {.server = "h2o",
     .passes = "Authorization twice: nobody's, as with those who join",
     .environment = {"HTTP_AUTHORIZATION=Bearer a", "HTTP_AUTHORIZATION=Bearer b"},
     .header = "Authorization",
     .is = "Bearer a, Bearer b"},
    {.server = "none of them",
     .passes = "CONTENT_LENGTH twice (RFC 9110, 8.6)",
     .environment = {"CONTENT_LENGTH=2", "CONTENT_LENGTH=2"},
     .fault = HOB_REQUEST_BAD_LENGTH},
    {.server = "nginx, configured so",
     .passes = "a meta-variable twice",
     .environment = {"REQUEST_METHOD=GET", "REQUEST_METHOD=DELETE", "REQUEST_URI=/a", "REQUEST_URI=/b"},
     .path = "/a"},
    /* -- headers -- */
    {.server = "nginx, Caddy, h2o",
     .passes = "HTTP_PROXY",
     .environment = {"HTTP_PROXY=http://evil/", "HTTP_PROXY_AUTHORIZATION=x"},
     .header = "Proxy"},
    {.server = "nginx, Caddy, h2o",
     .passes = "what only begins so",
     .environment = {"HTTP_PROXY_AUTHORIZATION=x"},
     .header = "Proxy-Authorization",
     .is = "x"},
    {.server = "all but lighttpd",
     .passes = "a header without value",
     .environment = {"HTTP_X_EMPTY="},
     .header = "X-Empty",
     .is = ""},
    {.server = "all",
     .passes = "names in upper case",
     .environment = {"HTTP_IF_NONE_MATCH=\"a=b\""},
     .header = "if-none-match",
     .is = "\"a=b\""},
    {.server = "HAProxy, mod_proxy_fcgi, mod_cgid",
     .passes = "no Authorization unless told to",
     .environment = {"AUTH_TYPE=Bearer"},
     .header = "Authorization"},
    {.server = "Apache, after a redirect",
     .passes = "REDIRECT_HTTP_*",
     .environment = {"REDIRECT_HTTP_AUTHORIZATION=Bearer t"},
     .header = "Authorization"},
    {.server = "h2o",
     .passes = "blanks behind a value",
     .environment = {"HTTP_X_SPACE=a b  "},
     .header = "X-Space",
     .is = "a b  "},
};

static void each_difference_is_resolved(void **state) {
    (void)state;
    for (const struct row *r = rows; r < rows + sizeof rows / sizeof *rows; r++) {
        char name[160];
        snprintf(name, sizeof name, "%s: %s", r->server, r->passes);
        read_with(r->mount, r->environment);
        if (request.fault != r->fault)
            fail_msg("%s: fault %d", name, (int)request.fault);
        if (r->path) {
            const char *route_path = r->route_path ? r->route_path : r->path;
            check(name, "path", request.path, r->path);
            check(name, "route_path", request.route_path, strcmp(route_path, NOWHERE) == 0 ? NULL : route_path);
        }
        if (r->query)
            check(name, "query", request.query, r->query);
        if (r->content_length != 0 && request.content_length != r->content_length)
            fail_msg("%s: content_length %" PRId64, name, request.content_length);
        if (r->header)
            check(name, r->header, hob__request_header(&request, hob_text_of(r->header)), r->is);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_is_the_same_behind_each_server),
        cmocka_unit_test(each_difference_is_resolved),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}
