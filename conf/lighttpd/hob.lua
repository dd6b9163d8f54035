-- Called by lighttpd when a request has come and when its answer is about to leave.
local r = lighty.r
local status = r.req_item.http_status

-- One id for a request in lighttpd's log, the worker's log and the answer: the client's where it is fit to be one, else
-- lighttpd's own. The worker applies the same rule.
local function request_id()
    local id = r.req_header["X-Request-ID"]
    if id and #id <= 64 and id:find("^[A-Za-z0-9._-]+$") then
        return id
    end
    local word = function() return lighty.c.rand() & 0xffffffff end
    return string.format("%08x%08x%08x%08x", word(), word(), word(), word())
end

-- To a worker `A_b` and `A-B` are one header; nginx drops the first, too.
local function drop_ambiguous_headers()
    local names = {}
    for name in pairs(r.req_header) do
        if name:find("_", 1, true) then
            table.insert(names, name)
        end
    end
    for _, name in ipairs(names) do
        r.req_header[name] = ""
    end
end

if status == 0 then
    drop_ambiguous_headers()
    r.req_header["X-Request-ID"] = request_id()
    return 0
end

-- What a worker answers has an id and passes as it is.
if status < 400 or r.resp_header["X-Request-ID"] then
    return 0
end

local unknown = "; it is not known whether the request was carried out"
local problems = {
    [400] = {"Bad Request", "the request is not one of HTTP"},
    [403] = {"Forbidden", "this address may not ask for that"},
    [404] = {"Not Found", "nothing is here"},
    [405] = {"Method Not Allowed", "the method is not allowed here"},
    [408] = {"Request Timeout", "the request took too long to arrive"},
    [411] = {"Length Required", "the body has no length"},
    [413] = {"Content Too Large", "the body is too large"},
    [414] = {"URI Too Long", "the target is too long"},
    [431] = {"Request Header Fields Too Large", "the header is too large"},
    [501] = {"Not Implemented", "the method is not known here"},
    [502] = {"Bad Gateway", "the service did not answer" .. unknown, 1},
    [503] = {"Service Unavailable", "the service takes no more requests", 1},
    [504] = {"Gateway Timeout", "the service did not answer in time" .. unknown, 5},
}
if status == 500 then
    status = 502 -- lighttpd's word for a worker that closed without an answer
end
local problem = problems[status] or {"Error", "the request was not carried out"}
local id = request_id()
r.resp_header["Content-Type"] = "application/problem+json"
r.resp_header["X-Request-ID"] = id
if problem[3] then
    r.resp_header["Retry-After"] = tostring(problem[3])
end
r.resp_body.set(string.format('{"type":"about:blank","title":"%s","status":%d,"detail":"%s","instance":"%s"}\n',
                              problem[1], status, problem[2], id))
return status
