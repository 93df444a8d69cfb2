"""System calls that a candidate is refused, by number (Linux UAPI: asm/unistd_64.h, asm-generic/unistd.h)."""

from __future__ import annotations

_REFUSED = """
# name              x86_64 aarch64
# processes of its own: threads are enough to train, and what cannot fork leaves nothing behind
fork                57     -
vfork               58     -
execve              59     221
execveat            322    281
# the network, and the sockets of daemons on this host; io_uring can do all that these do
socket              41     198
socketpair          53     199
io_uring_setup      425    425
io_uring_enter      426    426
io_uring_register   427    427
# other processes of the same user
ptrace              101    117
process_vm_readv    310    270
process_vm_writev   311    271
pidfd_open          434    434
pidfd_getfd         438    438
pidfd_send_signal   424    424
kcmp                312    272
process_madvise     440    440
process_mrelease    448    448
migrate_pages       256    238
move_pages          279    239
setpriority         141    140
ioprio_set          251    30
sched_setscheduler  144    119
sched_setparam      142    118
sched_setattr       314    274
tkill               200    130
rt_sigqueueinfo     129    138
rt_tgsigqueueinfo   297    240
# what Landlock leaves open on files that cannot be opened
chmod               90     -
fchmod              91     52
fchmodat            268    53
fchmodat2           452    452
chown               92     -
fchown              93     55
lchown              94     -
fchownat            260    54
utime               132    -
utimes              235    -
utimensat           280    88
futimesat           261    -
setxattr            188    5
lsetxattr           189    6
fsetxattr           190    7
setxattrat          463    463
removexattr         197    14
lremovexattr        198    15
fremovexattr        199    16
removexattrat       466    466
file_setattr        469    469
truncate            76     45
name_to_handle_at   303    264
open_by_handle_at   304    265
fanotify_init       300    262
# what of a file the page cache holds, which outlives a process: to see it, or to throw it out. Who reads plainly is
# asked no flags (preadv is another call)
fadvise64           221    223
readahead           187    213
mincore             27     232
cachestat           451    451
preadv2             327    286
pwritev2            328    287
# memory that no process is charged for, or that outlives it
memfd_create        319    279
memfd_secret        447    447
shmget              29     194
shmat               30     196
shmctl              31     195
msgget              68     186
semget              64     190
mq_open             240    180
# mounts and namespaces
mount               165    40
umount2             166    39
pivot_root          155    41
chroot              161    51
move_mount          429    429
open_tree           428    428
open_tree_attr      467    467
fsopen              430    430
fsmount             432    432
fsconfig            431    431
fspick              433    433
mount_setattr       442    442
unshare             272    97
setns               308    268
# the kernel
bpf                 321    280
perf_event_open     298    241
userfaultfd         323    282
keyctl              250    219
add_key             248    217
request_key         249    218
kexec_load          246    104
kexec_file_load     320    294
init_module         175    105
finit_module        313    273
delete_module       176    106
reboot              169    142
settimeofday        164    170
clock_settime       227    112
clock_adjtime       305    266
adjtimex            159    171
sethostname         170    161
setdomainname       171    162
iopl                172    -
ioperm              173    -
modify_ldt          154    -
personality         135    92
syslog              103    116
vhangup             153    58
acct                163    89
quotactl            179    60
quotactl_fd         443    443
swapon              167    224
swapoff             168    225
sync                162    81
"""

_LIMITED = """
# allowed with some arguments: see seccomp.py
clone               56     220
clone3              435    435
kill                62     129
tgkill              234    131
prlimit64           302    261
sched_setaffinity   203    122
madvise             28     233
prctl               157    167
fcntl               72     25
ioctl               16     29
close_range         436    436
mmap                9      222
"""

_COLUMNS = {"x86_64": 1, "aarch64": 2}


def refused(machine: str) -> list[int]:
    """Return the numbers that `machine` (as `os.uname().machine`) refuses always."""
    return list(_numbers(_REFUSED, machine).values())


def limited(machine: str) -> dict[str, int]:
    """Return the numbers, by name, whose arguments decide."""
    return _numbers(_LIMITED, machine)


def _numbers(table: str, machine: str) -> dict[str, int]:
    rows = (line.split() for line in table.splitlines() if line and not line.startswith("#"))
    column = _COLUMNS[machine]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
