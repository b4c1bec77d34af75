#compdef perdura
# Generated from the tables of src/usage.rs; do not edit.
_arguments -s \
    '-?[this help]' \
    '-h[this help]' \
    '-v[show version and exit]' \
    '-V[show version and configure options then exit]' \
    '-t[test configuration and exit]' \
    '-T[test configuration, dump it and exit]' \
    '-q[suppress non-error messages during configuration testing]' \
    '-s[send signal to a master process]:signal:(stop quit reopen reload upgrade)' \
    '-p[set prefix path]:prefix:_files -/' \
    '-e[set error log file]:filename:_files' \
    '-c[set configuration file]:filename:_files' \
    '-g[set global directives out of configuration file]:directives:' \
    '--explain[print the manual of a directive or a $variable and exit]:name:{compadd -- $(perdura --explain "*" 2>/dev/null)}' \
    '--json[list the tunnels as JSON]' \
    '--close[end the tunnel with this id]:id:' \
    '1:command:(demo tunnels)'
