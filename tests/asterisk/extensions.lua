extensions.lua_rooms = {
    ["700"] = function()
        app.answer()
        app.hangup()
    end,
}
