#!/bin/bash
# Starts and stops a private MariaDB and a private PostgreSQL for tests:
#   eval "$(tests/databases.sh start DIR)"    prints export lines with the URLs of both
#   tests/databases.sh told DIR               prints what the logs of both say about an end of theirs
#   tests/databases.sh stop DIR               ends both and removes what they left in DIR
# Both listen on 127.0.0.1 only, on free ports, with random passwords that stand in DIR/urls (readable by its owner).
# Data is not synced to disk: it lives as long as the tests.
set -euo pipefail

fail() { echo "databases.sh: $*" >&2; exit 1; }
[ $# -eq 2 ] || fail "usage: databases.sh start|told|stop DIR"
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)

find_program() {
    local name
    for name in "$@"; do
        command -v "$name" && return
        local path
        for path in /usr/lib/postgresql/*/bin/"$name" /usr/sbin/"$name" /usr/pgsql-*/bin/"$name"; do
            [ -x "$path" ] && { echo "$path"; return; }
        done
    done
    fail "none of these programs is installed: $*"
}

# Runs a program as a user; servers refuse to be root.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"; else "$@"; fi
}

# Starts a server that outlives this script, with nothing of ours open: a caller that reads our output must see its end.
# As long as its folder has a file `keep`, a server that ends by itself is started again, a few times: how long a database
# server lives is not what is tested.
launch() { # user, log, folder, command...
    local prefix=() user=$1 log=$2 folder=$3
    shift 3
    [ "$(id -u)" != 0 ] || prefix=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --)
    (
        exec </dev/null >>"$log" 2>&1
        cd "$folder"
        exec setsid bash -c '
            for time in 1 2 3 4 5; do
                "$@" && status=0 || status=$?
                [ -e keep ] || exit "$status"
                echo "databases.sh: the server ended by itself with status $status, time $time"
                sleep 0.5
            done' keeper "${prefix[@]}" "$@"
    ) &
    launched=$!
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

random_word() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

alive() { [ -s "$1" ] && kill -0 "$(head -1 "$1")" 2>/dev/null; }

prepare() { # folder user: an empty folder of that user
    rm -rf "${dir:?}/$1"
    mkdir -m 700 "$dir/$1"
    if [ "$(id -u)" = 0 ]; then
        chown "$2" "$dir/$1"
        as "$2" test -x "$dir/$1" || fail "user $2 cannot reach $dir/$1; choose a folder that others may pass through"
    fi
}

start_mysql() {
    local install server port password
    install=$(find_program mariadb-install-db mysql_install_db)
    server=$(find_program mariadbd mysqld)
    prepare mysql mysql
    as mysql "$install" --no-defaults --datadir="$dir/mysql/data" --skip-test-db --auth-root-authentication-method=normal \
        >"$dir/mysql.log" 2>&1 || { tail -20 "$dir/mysql.log" >&2; fail "cannot prepare MariaDB"; }
    password=$(random_word)
    (umask 077; cat >"$dir/mysql/init.sql" <<SQL
CREATE DATABASE IF NOT EXISTS strowger CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'strowger'@'%' IDENTIFIED BY '$password';
GRANT ALL ON *.* TO 'strowger'@'%';
ALTER USER 'root'@'localhost' IDENTIFIED BY '$password';
SQL
    )
    [ "$(id -u)" != 0 ] || chown mysql "$dir/mysql/init.sql"
    for _ in 1 2 3; do
        port=$(free_port)
        launch mysql "$dir/mysql.log" "$dir/mysql" "$server" --no-defaults --datadir="$dir/mysql/data" --socket=server.sock --port="$port" \
            --bind-address=127.0.0.1 --pid-file="$dir/mysql/server.pid" --init-file="$dir/mysql/init.sql" \
            --skip-name-resolve --innodb-buffer-pool-size=128M --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --sync-frm=0 \
            --skip-innodb-use-native-aio --loose-innodb-buffer-pool-size-max=128M
        for _ in $(seq 300); do
            if [ -s "$dir/mysql/server.pid" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                touch "$dir/mysql/keep"
                mysql_url="mysql://strowger:$password@127.0.0.1:$port/strowger"
                return
            fi
            kill -0 "$launched" 2>/dev/null || break
            sleep 0.1
        done
        kill -- -"$launched" 2>/dev/null || true
    done
    tail -20 "$dir/mysql.log" >&2
    fail "MariaDB does not start"
}

start_postgres() {
    local initdb server port password
    initdb=$(find_program initdb)
    server=$(find_program postgres)
    prepare postgres postgres
    password=$(random_word)
    (umask 077; echo "$password" >"$dir/postgres/password")
    [ "$(id -u)" != 0 ] || chown postgres "$dir/postgres/password"
    (cd "$dir/postgres" && as postgres "$initdb" -D "$dir/postgres/data" -U strowger --auth=scram-sha-256 -E UTF8 --no-locale \
        --pwfile="$dir/postgres/password" --no-sync) >"$dir/postgres.log" 2>&1 ||
        { tail -20 "$dir/postgres.log" >&2; fail "cannot prepare PostgreSQL"; }
    rm -f "$dir/postgres/password"
    for _ in 1 2 3; do
        port=$(free_port)
        launch postgres "$dir/postgres.log" "$dir/postgres" "$server" -D "$dir/postgres/data" -p "$port" -c listen_addresses=127.0.0.1 \
            -c unix_socket_directories='' -c fsync=off -c full_page_writes=off -c synchronous_commit=off
        for _ in $(seq 300); do
            if [ "$(sed -n 8p "$dir/postgres/data/postmaster.pid" 2>/dev/null | tr -d ' ')" = ready ]; then
                touch "$dir/postgres/keep"
                postgres_url="postgres://strowger:$password@127.0.0.1:$port/postgres"
                return
            fi
            kill -0 "$launched" 2>/dev/null || break
            sleep 0.1
        done
        kill -- -"$launched" 2>/dev/null || true
    done
    tail -20 "$dir/postgres.log" >&2
    fail "PostgreSQL does not start"
}

end_server() { # pid file, signal
    alive "$1" || return 0
    local pid
    pid=$(head -1 "$1")
    kill -"$2" "$pid" 2>/dev/null || true
    for _ in $(seq 200); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

stop() {
    rm -f "$dir/mysql/keep" "$dir/postgres/keep"
    end_server "$dir/mysql/server.pid" TERM
    end_server "$dir/postgres/data/postmaster.pid" QUIT
    rm -rf "${dir:?}/mysql" "${dir:?}/postgres" "$dir/urls" "$dir/mysql.log" "$dir/postgres.log"
}

told() {
    local name
    for name in mysql postgres; do
        grep -q "databases.sh: the server ended" "$dir/$name.log" || continue
        echo "==== the end of $name.log"
        tail -n 40 "$dir/$name.log"
    done
}

case $action in
start)
    if [ -s "$dir/urls" ] && alive "$dir/mysql/server.pid" && alive "$dir/postgres/data/postmaster.pid"; then
        cat "$dir/urls"
        exit
    fi
    stop
    [ "$(id -u)" != 0 ] || chmod go+x "$dir"
    start_mysql
    start_postgres
    (umask 077; cat >"$dir/urls" <<URLS
export STROWGER_TEST_MYSQL_URL=$mysql_url
export STROWGER_TEST_POSTGRES_URL=$postgres_url
URLS
    )
    cat "$dir/urls"
    ;;
told) told ;;
stop)
    stop
    rmdir "$dir" 2>/dev/null || true
    ;;
*) fail "unknown action $action; usage: databases.sh start|told|stop DIR" ;;
esac
