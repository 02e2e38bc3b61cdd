extensions.lua_rooms = {
    ["700"] = function()
        app.answer()
        app.wait(2)
        app.hangup()
    end,
}
