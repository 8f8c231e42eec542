#!/usr/bin/env bash
# Boots a real, throw-away systemd: PID 1 of namespaces of its own, over a copy-on-write view of a root file system.
# Called by systemd_lab.py with an empty folder, the tree to boot ("/" for this machine's own), and, in pairs, what is
# to be seen where inside (read-only, but for what is named with a "+" before it). Prints the process id of PID 1 once
# it exists. Lives as long as its standard input is open; everything goes with it, whatever becomes of the test.
#
# Not a security boundary: PID 1 inside is root, without the capabilities over the machine itself.
set -u
W=$1 TREE=$2; shift 2
die() { echo "systemd lab: $*" >&2; exit 1; }

INIT=
for each in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ -x "$TREE/$each" ] && INIT=$each && break
done
[ -n "$INIT" ] || die "no systemd in $TREE"

# What is mounted here is seen by nobody outside, and goes with the last process: the caller has unshared the mounts.
mount -t tmpfs -o mode=0755,size=2g lab "$W" || die "cannot mount a tmpfs"
mkdir "$W"/{upper,work,root,cgroup}
mount -t overlay -o "lowerdir=$TREE,upperdir=$W/upper,workdir=$W/work" overlay "$W/root" || die "cannot mount an overlay of $TREE"

# A control group of the lab's own; a namespace makes it the root that the lab sees.
mount -t cgroup2 cgroup2 "$W/cgroup" || die "no cgroup v2 in this kernel"
HOME_GROUP=$W/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
for left in "$W"/cgroup/jobwarden-lab-*; do             # of labs that were killed outright: empty ones
    [ -e "/proc/${left##*-}" ] || find "$left" -depth -type d -exec rmdir {} + 2>/dev/null
done
GROUP=$W/cgroup/jobwarden-lab-$$
mkdir "$GROUP" || die "cannot make a control group"

second_stage() {
    local R=$W/root unit n
    mount --make-rprivate /
    mount -t proc -o nosuid,nodev,noexec proc "$R/proc" || exit 1
    for n in sys sysrq-trigger irq bus fs; do             # these are the machine's
        [ -e "$R/proc/$n" ] || continue
        mount --bind "$R/proc/$n" "$R/proc/$n" && mount -o remount,bind,ro,nosuid,nodev,noexec "$R/proc/$n" || exit 1
    done
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys" || exit 1
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup" || exit 1
    mount -t tmpfs -o mode=0755,nosuid,size=64k,nr_inodes=1k tmpfs "$R/dev" || exit 1
    for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$R/dev/${n%:*}" c 1 "${n#*:}"; done
    mknod -m 666 "$R/dev/tty" c 5 0
    mknod -m 600 "$R/dev/console" c 1 3                   # nowhere: the journal has it all
    mkdir "$R"/dev/{pts,shm,mqueue}
    mount -t devpts -o newinstance,nosuid,noexec,mode=620,gid=5,ptmxmode=666 devpts "$R/dev/pts" || exit 1
    ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
    for n in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${n#*:}" "$R/dev/${n%:*}"; done
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/dev/shm" || exit 1
    mount -t mqueue -o nosuid,nodev,noexec mqueue "$R/dev/mqueue" || exit 1
    mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$R/run" || exit 1
    mkdir "$R/run/lock"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/tmp" || exit 1

    # The machine's own units are not started, nor what would act on the machine.
    unit=$R/etc/systemd/system
    rm -rf "$unit"; mkdir -p "$unit" "$R"/etc/systemd/{journald.conf.d,system.conf.d}
    for n in systemd-udevd.service systemd-udevd-{control,kernel}.socket systemd-udev-{trigger,settle}.service \
        systemd-{hwdb-update,modules-load,sysctl,binfmt,random-seed,timesyncd,time-wait-sync,networkd,resolved}.service \
        systemd-{logind,remount-fs,pstore,firstboot,homed,update-utmp,update-utmp-runlevel,rfkill,oomd}.service \
        systemd-{machine-id-commit,sysusers,pcrphase,pcrphase-sysinit,network-generator,sysext,confext}.service \
        systemd-tpm2-setup{,-early}.service systemd-boot-system-token.service systemd-ask-password-{wall,console}.path \
        systemd-{networkd,journald-audit,initctl,userdbd,creds,oomd}.socket systemd-tmpfiles-clean.timer \
        {getty,cryptsetup,integritysetup,veritysetup,remote-cryptsetup}.target console-getty.service \
        kmod-static-nodes.service modprobe@.service ldconfig.service dbus-org.freedesktop.login1.service \
        dev-{hugepages,mqueue}.mount sys-kernel-{debug,tracing,config}.mount sys-fs-fuse-connections.mount \
        proc-sys-fs-binfmt_misc.{automount,mount}
    do ln -s /dev/null "$unit/$n"; done
    # No rate limits, no audit (it would be the kernel's), all of it on the tmpfs; no core file of a watchdog's SIGABRT.
    printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nAudit=no\nReadKMsg=no\nForwardToWall=no\n' \
        >"$R/etc/systemd/journald.conf.d/lab.conf"
    printf '[Manager]\nDefaultLimitCORE=0\nShowStatus=no\n' >"$R/etc/systemd/system.conf.d/lab.conf"
    rm -f "$R"/etc/{machine-id,hostname}
    tr -d - </proc/sys/kernel/random/uuid >"$R/etc/machine-id"
    echo lab >"$R/etc/hostname"

    local from to
    while [ $# -ge 2 ]; do
        from=$1 to=$R${2#+}
        mkdir -p "$to" && mount --rbind "$from" "$to" || exit 1
        [[ $2 == +* ]] || mount -o remount,bind,ro "$to" || exit 1
        shift 2
    done
    cd "$R" && pivot_root . . && umount -l . && cd / || exit 1
    # As on a booted machine: what the helpers of PID 1 mount reaches the services (LoadCredential= needs it).
    mount --make-rshared / || exit 1
    exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent \
        setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-wake_alarm,-block_suspend,-mac_admin,-mac_override,-audit_read,-audit_control,-perfmon \
        "$INIT" --system --unit=multi-user.target --log-target=journal --show-status=no </dev/null >/dev/null 2>&1
}

export -f second_stage
export W INIT
(
    echo "$BASHPID" >"$GROUP/cgroup.procs" || exit 1
    exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child=KILL --cgroup --ipc --uts --net --mount \
        --propagation private -- "$BASH" -c 'second_stage "$@"' lab "$@" </dev/null
) &
SHARER=$!
FIRST=
for _ in $(seq 500); do
    FIRST=$(cat "/proc/$SHARER/task/$SHARER/children" 2>/dev/null) && [ -n "$FIRST" ] && break
    kill -0 "$SHARER" 2>/dev/null || break
    sleep 0.01
done
# unshare itself had to be in there when it made the namespace; PID 1 cannot move what is not in its own.
[ -n "$FIRST" ] && echo "$SHARER" >"$HOME_GROUP/cgroup.procs" && echo "${FIRST%% *}"

trap '' INT TERM HUP
cat >/dev/null                                            # until the test, or the process that ran it, is gone
{ kill -KILL "$SHARER"; wait "$SHARER"; } 2>/dev/null
for _ in $(seq 100); do
    [ -e "$GROUP/cgroup.kill" ] && echo 1 >"$GROUP/cgroup.kill"
    find "$GROUP" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$GROUP" ] || break
    sleep 0.05
done
