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
struct upid {
  int nr;
} KERNEL_TYPE;
struct pid {
  unsigned int level;
  struct upid numbers[1];
} KERNEL_TYPE;
struct signal_struct {
  unsigned int flags;
} KERNEL_TYPE;
struct task_struct {
  int exit_code;
  int tgid;
  __u64 start_time;
  struct task_struct* group_leader;
  struct pid* thread_pid;
  struct signal_struct* signal;
} KERNEL_TYPE;

enum {
  SIGNAL_GROUP_EXIT = 0x4, /* include/linux/sched/signal.h */
  FIRST_LEVEL = 1,         /* the root cgroup is nobody's container */
  LAST_LEVEL = 16,
  SEEN_PROCESSES =
      4096, /* dying at the same time; a forgotten one is reported once more, no harm */
  EVENT_BYTES = 256 << 10,
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

static __always_inline __u32 is_init(struct task_struct* leader) {
  struct pid* pid = BPF_CORE_READ(leader, thread_pid);
  __u32 level = BPF_CORE_READ(pid, level);
  int number = 0;
  const void* at = (const char*)pid + bpf_core_field_offset(pid->numbers) +
                   level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr);
  if (bpf_probe_read_kernel(&number, sizeof(number), at)) return 0;
  return level > 0 && number == 1;
}

static __always_inline void report(__u64 cgroup, __u32 signal, __u32 init, __u32 held) {
  struct pd_death* event = bpf_ringbuf_reserve(&pd_deaths, sizeof(*event), 0);
  if (!event) return; /* nobody reads: the gate's own counter has it */
  event->cgroup_id = cgroup;
  event->boottime_ns = bpf_ktime_get_boot_ns();
  event->process_id = bpf_get_current_pid_tgid() >> 32;
  event->signal = signal;
  event->is_init = init;
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
  __u32 init = is_init(leader);
  __u32 flags = *(volatile __u32*)&gate->flags;
  __u32 held = (flags & PD_GATE_HOLD_ON_DEATH) || ((flags & PD_GATE_HOLD_ON_INIT_DEATH) && init);
  if (held) __sync_fetch_and_add(&gate->holds, 1);
  __u8 mark = 1;
  if (bpf_map_update_elem(&pd_seen, &process, &mark, BPF_NOEXIST))
    return 0; /* another thread was first */
  __sync_fetch_and_add(&gate->deaths, 1);
  report(cgroup, signal, init, held);
  return 0;
}
