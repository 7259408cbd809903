-- HAProxy has no request of its own to an authoriser; this asks, and leaves the answer in variables of the transaction.
local url = os.getenv("VOUCHSAFE_URL")
local keys = { token = os.getenv("TOKEN_GATEWAY_KEY"), caller = os.getenv("ASSERTING_GATEWAY_KEY") }
local results = {
    decision = "x-eligibility-decision", reason = "x-eligibility-reason", subject = "x-eligibility-subject",
    valid_until = "x-eligibility-valid-until", stale = "x-eligibility-stale", test = "x-eligibility-test",
    end_user = "x-eligibility-end-user", end_user_decision = "x-eligibility-end-user-decision",
    challenge = "www-authenticate",
}

core.register_action("vouchsafe", { "http-req" }, function(txn, way, resource)
    txn:set_var("txn.verdict", "503")
    local request = txn.http:req_get_headers()
    local function one(name)
        return request[name] and request[name][0]
    end
    -- What HAProxy saw comes last: who is trusted before it is the service's own setting.
    local hops = {}
    for place = 0, 63 do
        local hop = request["x-forwarded-for"] and request["x-forwarded-for"][place]
        if not hop then break end
        hops[#hops + 1] = hop
    end
    hops[#hops + 1] = txn.f:src()
    local headers = { ["x-gateway-key"] = { keys[way] }, ["x-forwarded-for"] = { table.concat(hops, ", ") } }
    if way == "token" then
        headers["authorization"] = one("authorization") and { one("authorization") }
        headers["dpop"] = one("dpop") and { one("dpop") }
        headers["x-original-method"] = { txn.f:method() }
        headers["x-original-uri"] = { txn.f:pathq() }
    else
        local caller = txn:get_var("txn.caller")
        headers["x-vouchsafe-caller"] = caller and { caller }
    end
    -- HAProxy asks up to four times, each as long as this: a service that hangs is given 5 s.
    local asked, answer = pcall(function()
        return core.httpclient():get { url = url .. "/gateway/check/" .. resource, headers = headers, timeout = 1250 }
    end)
    if not asked or not answer or not answer.status then
        return
    end
    for name, header in pairs(results) do
        local values = answer.headers and answer.headers[header]
        if values and values[0] then
            txn:set_var("txn." .. name, values[0])
        end
    end
    txn:set_var("txn.verdict", tostring(answer.status))
end, 2)
