/* Shared by the BPF programs (C) and their user (C++): the one map entry of a gate and what it
   queues. Changing a layout needs a new PD_GATE_VERSION: a restarted daemon refuses gates of
   another version. Only struct pd_death may grow, at its end, with a new name of the link's pin
   (exit_hook.cc): a daemon reads shorter and longer ones. */
#pragma once

#include <linux/types.h>

#define PD_GATE_VERSION 0x70640002u
#define PD_GATE_NO_DEADLINE 0xffffffffffffffffull

enum pd_gate_flag {
  PD_GATE_LOCKED = 1u << 0,
  PD_GATE_RST_GUARD = 1u << 1,
  PD_GATE_ARP_ONLY = 1u << 2,
  PD_GATE_HOLD_ON_DEATH = 1u << 3,
  PD_GATE_HOLD_ON_INIT_DEATH = 1u << 4,
  PD_GATE_INPUT_LOCKED = 1u << 5,
  /* Narrows PD_GATE_HOLD_ON_DEATH: who does not know it holds on every death. */
  PD_GATE_LISTED_DEATHS_ONLY = 1u << 6,
};

/* Every word has one writer and is changed by one aligned store (counters: one atomic addition). */
struct pd_gate_entry {
  /* written by the daemon */
  __u64 deadline_ns; /* CLOCK_BOOTTIME; frames pass while now < deadline */
  __u32 flags;       /* enum pd_gate_flag */
  __u32 version;
  __u64 holds_released; /* the gate is held while holds != holds_released */
  __u64 reserved[5];
  /* written by the exit hook */
  __u64 holds; /* raised by each death while a hold flag was set, maybe by several threads of one */
  __u64 deaths; /* processes that died by a signal */
  __u64 reserved_hook[6];
  /* written by the gate */
  __u64 passed;
  __u64 dropped_deadline;
  __u64 dropped_locked; /* by the lock */
  __u64 dropped_held;   /* after a death */
  __u64 dropped_guard;  /* RST and unreachable */
  __u64 dropped_arp_only;
  __u64 input_passed;
  __u64 input_dropped;
};

/* A TCP connection, as it leaves the container. Addresses are as on the wire, IPv4 in the first four
   bytes; ports in network byte order. */
struct pd_connection {
  __u8 source[16];
  __u8 destination[16];
  __be16 source_port;
  __be16 destination_port;
  __u32 family; /* 4 or 6 */
};
#define PD_GATE_REFUSALS 1024 /* the oldest is forgotten */
#define PD_GATE_BEGUN 1024    /* the oldest is forgotten */

/* Whose deaths hold while PD_GATE_LISTED_DEATHS_ONLY is set. */
struct pd_listed_key {
  __u64 cgroup_id;     /* the protected cgroup */
  __u32 pid_namespace; /* its inode */
  __u32 process_id;    /* thread group, in that namespace */
};
enum pd_listed {
  PD_LISTED_INIT = 0, /* its own death holds; who descends from it and from nobody listed holds nothing */
  PD_LISTED_HOLDS = 1,
};

/* One event of the exit hook's ring buffer. */
struct pd_death {
  __u64 cgroup_id; /* the protected cgroup */
  __u64 boottime_ns;
  __u32 process_id; /* in the initial PID namespace */
  __u32 signal;
  __u32 is_init; /* 1: PID 1 of its PID namespace */
  __u32 held;    /* 1: this death closed the gate */
  char command[16];
  __u32 pid_namespace; /* the innermost one of the process: its inode */
  __u32 reserved;
};
