#include "http/request.h"

#include "base/text.h"

const hob_text hob__method_names[HOB_METHODS] = {
    [HOB_GET] = HOB_TEXT("GET"),         [HOB_HEAD] = HOB_TEXT("HEAD"),   [HOB_POST] = HOB_TEXT("POST"),
    [HOB_PUT] = HOB_TEXT("PUT"),         [HOB_PATCH] = HOB_TEXT("PATCH"), [HOB_DELETE] = HOB_TEXT("DELETE"),
    [HOB_OPTIONS] = HOB_TEXT("OPTIONS"),
};

hob_http_method hob__method_of(hob_text name) {
    for (int method = 0; method < HOB_METHODS; method++)
        if (hob_text_equal(hob__method_names[method], name))
            return (hob_http_method)method;
    return HOB_METHOD_UNKNOWN;
}

hob_text hob__request_header(const hob_request *request, hob_text name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (hob__text_equal_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return (hob_text){0};
}

/* What stands before the next ';' that is not in a quoted string (RFC 9110, 5.6.4). */
static bool next_parameter(hob_text *rest, hob_text *parameter) {
    bool quoted = false;
    size_t at = 0;
    if (rest->data == NULL)
        return false;
    for (; at < rest->size && (quoted || rest->data[at] != ';'); at++)
        if (rest->data[at] == '"')
            quoted = !quoted;
        else if (rest->data[at] == '\\' && quoted && at + 1 < rest->size)
            at++;
    *parameter = hob__text_trim((hob_text){rest->data, at});
    *rest = at < rest->size ? (hob_text){rest->data + at + 1, rest->size - at - 1} : (hob_text){0};
    return true;
}

static bool is_other_charset(hob_text parameter) {
    hob_text value = parameter, name;
    (void)hob__text_split(&value, '=', &name);
    if (!hob__text_equal_nocase(name, HOB_TEXT("charset")))
        return false;
    return !hob__text_equal_nocase(value, HOB_TEXT("utf-8")) && !hob__text_equal_nocase(value, HOB_TEXT("\"utf-8\""));
}

bool hob__media_type_is(hob_text content_type, hob_text type) {
    hob_text parameter;
    if (!next_parameter(&content_type, &parameter) || !hob__text_equal_nocase(parameter, type))
        return false;
    while (next_parameter(&content_type, &parameter))
        if (is_other_charset(parameter))
            return false;
    return true;
}
