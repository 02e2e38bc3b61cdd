-- An office: extensions of three digits, a switchboard with a menu, office hours, a conference.
--
-- Try it: copy this file and lib/ into the folder `dialplan` of the data directory, and set the context of your telephones to
-- `office`.

local hours = require("lib.hours")

-- Telephones have the names of their numbers.
local function ring(number, seconds)
    local result = call:dial{ "PJSIP/" .. number, timeout = seconds or 25, music = false }
    log.info("dialled", number, result.status, "talked", result.talked)
    return result
end

extensions.office = {
    -- One telephone; busy and unanswered are told apart.
    ["_1XX"] = function(context, exten)
        local result = ring(exten)
        if result.status == "BUSY" then
            call:busy(5)
        elseif not result.answered then
            call:hangup(19)
        end
    end,

    -- Several at once: the first that answers has the call.
    ["200"] = function()
        call:dial({ "PJSIP/100", "PJSIP/101", "PJSIP/102" }, { timeout = 40 })
    end,

    -- The switchboard.
    ["0"] = function()
        call:answer()
        if not hours.open() then
            call:play("vm-goodbye")
            return call:hangup()
        end
        for attempt = 1, 3 do
            local digit = call:read{ prompt = "beep", max = 1, timeout = 6 }
            if digit == "1" then
                return call:jump("office", "200")
            elseif digit == "2" then
                return call:jump("office", "8000")
            end
        end
        call:jump("office", "100")
    end,

    -- A conference for each number 8000 to 8009.
    ["_800X"] = function(context, exten)
        call:answer()
        call:conference(exten)
    end,
}

-- Callers from outside reach the switchboard only.
extensions.from_outside = {
    ["_X."] = function()
        call:jump("office", "0")
    end,
}

hints.office = {
    ["100"] = "PJSIP/100",
    ["101"] = "PJSIP/101",
}
