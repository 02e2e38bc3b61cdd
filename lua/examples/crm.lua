-- Asks a customer database and a web service before a telephone rings, and tells the web service afterwards.
--
-- Needs a database in strowger.toml:
--
--     [sql.crm]
--     url = "mysql://exchange:password@127.0.0.1/crm"
--     read_only = true

local service = "http://127.0.0.1:3000"

-- The name of a caller: remembered for an hour, so that a caller who tries again costs no query.
local function name_of(number)
    local known = shared.get("name:" .. number)
    if known then
        return known
    end
    local rows, why = sql.query("crm", "SELECT name FROM customers WHERE phone = ? LIMIT 1", { number })
    if not rows then
        log.warn("no answer from the customer database:", why)
        return nil
    end
    local name = rows[1] and rows[1].name or ""
    shared.set("name:" .. number, name, { ttl = 3600 })
    return name
end

extensions.customers = {
    ["_X."] = function(context, exten)
        local number = call.caller.number
        local name = name_of(number)
        if name and name ~= "" then
            call:set("CALLERID(name)", name)
        end

        -- Runs when the call is over, whoever ended it.
        call:on("hangup", function(cause, text)
            http.post(service .. "/calls", { json = { id = call.id, from = number, cause = cause, text = text } })
        end)

        -- The service says who is on duty; without an answer in two seconds it is number 100.
        local answer, why = http.get(service .. "/on-duty", { timeout = 2 })
        local target = "100"
        if answer and answer.ok then
            target = json.decode(answer.body).number or target
        else
            log.warn("on-duty:", why or answer.status)
        end
        call:dial{ "PJSIP/" .. target, timeout = 30 }
    end,
}
