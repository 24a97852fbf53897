// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
//
// The exit hook (exit_hook.h). Reading the dying task's exit code is open to GPL-compatible
// programs only, hence the licence of this one file; it is a program of its own that the kernel
// runs.
#include <linux/types.h> /* first: libbpf's headers rely on it */

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

#include "gate_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The parts of the kernel's types that are read; CO-RE finds their places in the running kernel's
 * BTF. */
#define KERNEL_TYPE __attribute__((preserve_access_index))
struct ns_common {
  unsigned int inum;
} KERNEL_TYPE;
struct pid_namespace {
  struct ns_common ns;
} KERNEL_TYPE;
struct upid {
  int nr;
  struct pid_namespace* ns;
} KERNEL_TYPE;
struct pid {
  unsigned int level;
  struct upid numbers[1];
} KERNEL_TYPE;
struct signal_struct {
  unsigned int flags;
  struct pid* pids[4]; /* enum pid_type */
} KERNEL_TYPE;
struct task_struct {
  int exit_code;
  int tgid;
  __u64 start_time;
  struct task_struct* real_parent;
  struct task_struct* group_leader;
  struct pid* thread_pid;
  struct signal_struct* signal;
} KERNEL_TYPE;

enum {
  SIGNAL_GROUP_EXIT = 0x4, /* include/linux/sched/signal.h */
  PIDTYPE_SID = 3,         /* include/linux/pid_types.h */
  FIRST_LEVEL = 1,         /* the root cgroup is nobody's container */
  LAST_LEVEL = 16,
  SEEN_PROCESSES =
      4096, /* dying at the same time; a forgotten one is reported once more, no harm */
  EVENT_BYTES = 256 << 10,
  LISTED_PROCESSES = 16384,
  ANCESTORS = 16, /* with the process itself */
};

struct gate_map {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(struct pd_gate_entry));
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, 4096);
  __type(key, __u64);
  __array(values, struct gate_map);
} pd_protected SEC(".maps");

struct process {
  __u64 start_time;
  __u64 tgid;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, SEEN_PROCESSES);
  __type(key, struct process);
  __type(value, __u8);
} pd_seen SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, EVENT_BYTES);
} pd_deaths SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC); /* only the daemon adds */
  __uint(max_entries, LISTED_PROCESSES);
  __type(key, struct pd_listed_key);
  __type(value, __u32);
} pd_listed SEC(".maps");

/* A process in its innermost PID namespace. */
struct inner_process {
  __u32 level;
  __u32 number; /* 0: cannot be read */
  __u32 pid_namespace;
};

static __always_inline struct inner_process inner(struct pid* pid) {
  struct inner_process it = {BPF_CORE_READ(pid, level), 0, 0};
  const char* at = (const char*)pid + bpf_core_field_offset(pid->numbers) +
                   it.level * bpf_core_type_size(struct upid);
  struct pid_namespace* space = 0;
  if (bpf_probe_read_kernel(&it.number, sizeof(it.number),
                            at + bpf_core_field_offset(struct upid, nr)) ||
      bpf_probe_read_kernel(&space, sizeof(space), at + bpf_core_field_offset(struct upid, ns))) {
    it.number = 0;
    return it;
  }
  it.pid_namespace = BPF_CORE_READ(space, ns.inum);
  return it;
}

static __always_inline __u32 is_init(struct inner_process it) {
  return it.level > 0 && it.number == 1;
}

static __always_inline __u32* listed(__u64 cgroup, struct pid* pid) {
  const struct inner_process it = inner(pid);
  const struct pd_listed_key key = {cgroup, it.pid_namespace, it.number};
  return bpf_map_lookup_elem(&pd_listed, &key);
}

/* Whether it is the container's init, listed, descends from who is, or is in the session of one: a
 * child whose parent has ended descends from init only. Who leads to nobody known holds. */
static __always_inline __u32 is_listed(__u64 cgroup, struct task_struct* leader) {
  __u32* entry = listed(cgroup, BPF_CORE_READ(leader, signal, pids[PIDTYPE_SID]));
  if (entry && *entry == PD_LISTED_HOLDS) return 1;
  struct task_struct* ancestor = leader;
  for (int i = 0; i < ANCESTORS; i++) {
    entry = listed(cgroup, BPF_CORE_READ(ancestor, thread_pid));
    if (entry) return *entry == PD_LISTED_HOLDS || i == 0;
    ancestor = BPF_CORE_READ(ancestor, real_parent, group_leader);
  }
  return 1;
}

static __always_inline void report(__u64 cgroup, __u32 signal, struct inner_process it, __u32 held) {
  struct pd_death* event = bpf_ringbuf_reserve(&pd_deaths, sizeof(*event), 0);
  if (!event) return; /* nobody reads: the gate's own counter has it */
  event->cgroup_id = cgroup;
  event->boottime_ns = bpf_ktime_get_boot_ns();
  event->process_id = bpf_get_current_pid_tgid() >> 32;
  event->signal = signal;
  event->is_init = is_init(it);
  event->pid_namespace = it.pid_namespace;
  event->reserved = 0;
  event->held = held;
  bpf_get_current_comm(event->command, sizeof(event->command));
  bpf_ringbuf_submit(event, 0);
}

SEC("raw_tp/sched_process_exit")
int pd_on_exit(struct bpf_raw_tracepoint_args* ctx) {
  struct task_struct* task = (struct task_struct*)ctx->args[0];
  /* wait(2): the low seven bits are the signal, 0 after exit(). */
  __u32 signal = BPF_CORE_READ(task, exit_code) & 0x7f;
  if (!signal) return 0;
  /* A single thread that seccomp killed: the process goes on, and so do its sockets. */
  if (!(BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)) return 0;

  struct pd_gate_entry* gate = 0;
  __u64 cgroup = 0;
#pragma unroll
  for (int level = FIRST_LEVEL; level <= LAST_LEVEL; level++) {
    cgroup = bpf_get_current_ancestor_cgroup_id(level);
    if (!cgroup) return 0;
    void* map = bpf_map_lookup_elem(&pd_protected, &cgroup);
    if (map) {
      __u32 zero = 0;
      gate = bpf_map_lookup_elem(map, &zero);
      break;
    }
  }
  if (!gate) return 0;

  struct task_struct* leader = BPF_CORE_READ(task, group_leader);
  struct process process = {BPF_CORE_READ(leader, start_time), BPF_CORE_READ(task, tgid)};
  if (bpf_map_lookup_elem(&pd_seen, &process)) return 0;
  /* Held first, marked second: a thread that finds the mark may close sockets at once. */
  const struct inner_process it = inner(BPF_CORE_READ(leader, thread_pid));
  __u32 flags = *(volatile __u32*)&gate->flags;
  __u32 held = (flags & PD_GATE_HOLD_ON_INIT_DEATH) && is_init(it);
  if (flags & PD_GATE_HOLD_ON_DEATH)
    held = held || !(flags & PD_GATE_LISTED_DEATHS_ONLY) || is_listed(cgroup, leader);
  if (held) __sync_fetch_and_add(&gate->holds, 1);
  __u8 mark = 1;
  if (bpf_map_update_elem(&pd_seen, &process, &mark, BPF_NOEXIST))
    return 0; /* another thread was first */
  __sync_fetch_and_add(&gate->deaths, 1);
  report(cgroup, signal, it, held);
  return 0;
}
