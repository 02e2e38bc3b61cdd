-- A plan in the manner of Asterisk's extensions.lua: functions as extensions, `app`, `channel`, includes and hints.

local function leave()
    app.playback("demo-thanks")
    app.hangup()
end

local function menu()
    app.background("demo-instruct")
    app.waitexten()
end

extensions["menu"] = {
    s = function(context, exten)
        app.answer()
        channel.TIMEOUT("digit"):set(5)
        channel.TIMEOUT("response"):set(10)
        menu()
    end,

    ["1"] = function()
        app.verbose("the caller is " .. (channel.CALLERID("num"):get() or "unknown"))
        app["goto"]("telephones", "100", 1)
    end,

    [600] = function()
        app.playback("demo-echotest")
        app.echo()
        menu()
    end,

    ["#"] = leave,
    t = leave,
    i = function()
        app.playback("pbx-invalid")
        menu()
    end,
}

extensions["telephones"] = {
    ["_1XX"] = function(context, exten)
        app.dial("PJSIP/" .. exten, 30, "g")
        if channel.DIALSTATUS:get() ~= "ANSWER" then
            app.congestion(5)
        end
    end,

    include = { "menu" },
}

hints["telephones"] = {
    [100] = "PJSIP/100",
}
