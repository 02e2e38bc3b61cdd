-- Office hours, used by several plans.

local hours = {}

-- Monday to Friday from 9 to 18 o'clock; `db.put("office", "closed", "yes")` closes at once.
function hours.open()
    if db.get("office", "closed") == "yes" then
        return false
    end
    return time.within("09:00-17:59,mon-fri,*,*")
end

return hours
