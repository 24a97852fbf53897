// SPDX-License-Identifier: Apache-2.0
//
// The gate (gate.h): one instance per container, on clsact of the host end of its veth. Ingress
// there is the container's output, egress its input. Only helpers that are open to every licence
// are used.
#include <linux/types.h> /* first: libbpf's headers rely on it */

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "gate_abi.h"

#define PASS TC_ACT_UNSPEC /* the filters of others behind this one decide */
#define DROP TC_ACT_SHOT

enum {
  ETHER_BYTES = 14,
  VLAN_BYTES = 4,
  MAX_VLAN_TAGS = 2,
  MAX_EXTENSION_HEADERS = 6, /* more are unknown to any sender; such a packet counts as "other" */
  /* Of a frame that begins a connection: Ethernet, tags, IPv6 and the longest TCP header, and room for options of IP. */
  MAX_SYN_BYTES = 14 + 8 + 40 + 60 + 40,
  PROTO_ICMP = 1,
  PROTO_TCP = 6,
  PROTO_ICMPV6 = 58,
  TCP_FLAGS_OFFSET = 13,
  TCP_SYN = 0x02,
  TCP_RST = 0x04,
  ICMP_UNREACHABLE = 3,
  ICMPV6_UNREACHABLE = 1,
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct pd_gate_entry);
} pd_gate SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_QUEUE);
  __uint(max_entries, PD_GATE_REFUSALS);
  __uint(value_size, sizeof(struct pd_connection));
} pd_refusals SEC(".maps");

/* Connections that have begun. A queue that is looked at every now and then, not a ring that wakes its reader: the kernel
   forgets the oldest while nobody asks, and what a busy server begins goes to others in few messages. */
struct {
  __uint(type, BPF_MAP_TYPE_QUEUE);
  __uint(max_entries, PD_GATE_BEGUN);
  __uint(value_size, sizeof(struct pd_connection));
} pd_begun SEC(".maps");

char LICENSE[] SEC("license") = "Apache-2.0";

/* What a frame is, as far as the gate cares. proto is 0 for what has no readable upper header. */
struct frame {
  __u32 network; /* offset of the IP header */
  __u32 upper;   /* offset of the upper header */
  __u16 ethertype;
  __u8 proto;
  __u8 first; /* TCP flags or ICMP type */
};

static __always_inline void read_upper(struct __sk_buff* skb, __u32 offset, __u8 proto,
                                       struct frame* frame) {
  __u32 at = proto == PROTO_TCP ? offset + TCP_FLAGS_OFFSET : offset;
  if (proto != PROTO_TCP && proto != PROTO_ICMP && proto != PROTO_ICMPV6) return;
  if (bpf_skb_load_bytes(skb, at, &frame->first, 1)) return;
  frame->proto = proto;
  frame->upper = offset;
}

static __always_inline void read_ipv4(struct __sk_buff* skb, __u32 offset, struct frame* frame) {
  __u8 header[20];
  if (bpf_skb_load_bytes(skb, offset, header, sizeof(header))) return;
  if ((header[6] & 0x1f) || header[7]) return; /* a later fragment: no upper header */
  read_upper(skb, offset + (header[0] & 0x0f) * 4u, header[9], frame);
}

static __always_inline void read_ipv6(struct __sk_buff* skb, __u32 offset, struct frame* frame) {
  __u8 next, header[4];
  if (bpf_skb_load_bytes(skb, offset + 6, &next, 1)) return;
  offset += 40;
#pragma unroll
  for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
    if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60) break;
    if (bpf_skb_load_bytes(skb, offset, header, sizeof(header))) return;
    if (next == 44) {
      if (header[2] || (header[3] & 0xf8)) return;
      offset += 8;
    } else if (next == 51) {
      offset += (header[1] + 2u) * 4u;
    } else {
      offset += (header[1] + 1u) * 8u;
    }
    next = header[0];
  }
  read_upper(skb, offset, next, frame);
}

static __always_inline void read_frame(struct __sk_buff* skb, struct frame* frame) {
  __u32 offset = ETHER_BYTES;
  __be16 type = 0;
  if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type))) return;
#pragma unroll
  for (int i = 0; i < MAX_VLAN_TAGS; i++) {
    if (type != bpf_htons(0x8100) && type != bpf_htons(0x88a8)) break;
    if (bpf_skb_load_bytes(skb, offset + 2, &type, sizeof(type))) return;
    offset += VLAN_BYTES;
  }
  frame->ethertype = bpf_ntohs(type);
  frame->network = offset;
  if (frame->ethertype == 0x0800) read_ipv4(skb, offset, frame);
  if (frame->ethertype == 0x86dd) read_ipv6(skb, offset, frame);
}

/* ARP, router and neighbour solicitations and advertisements, and MLD reports, without which a
   switch that snoops does not deliver solicitations. */
static __always_inline int is_address_resolution(const struct frame* frame) {
  if (frame->ethertype == 0x0806) return 1;
  if (frame->ethertype != 0x86dd || frame->proto != PROTO_ICMPV6) return 0;
  return frame->first == 133 || frame->first == 135 || frame->first == 136 || frame->first == 131 ||
         frame->first == 132 || frame->first == 143;
}

static __always_inline int is_refusal(const struct frame* frame) {
  if (frame->proto == PROTO_TCP) return frame->first & TCP_RST;
  if (frame->proto == PROTO_ICMP)
    return frame->ethertype == 0x0800 && frame->first == ICMP_UNREACHABLE;
  if (frame->proto == PROTO_ICMPV6) return frame->first == ICMPV6_UNREACHABLE;
  return 0;
}

static __always_inline int read_connection(struct __sk_buff* skb, const struct frame* frame,
                                           struct pd_connection* connection) {
  if (frame->ethertype == 0x0800) {
    connection->family = 4;
    if (bpf_skb_load_bytes(skb, frame->network + 12, connection->source, 4)) return 0;
    if (bpf_skb_load_bytes(skb, frame->network + 16, connection->destination, 4)) return 0;
  } else {
    connection->family = 6;
    if (bpf_skb_load_bytes(skb, frame->network + 8, connection->source, 16)) return 0;
    if (bpf_skb_load_bytes(skb, frame->network + 24, connection->destination, 16)) return 0;
  }
  if (bpf_skb_load_bytes(skb, frame->upper, &connection->source_port, 2)) return 0;
  return !bpf_skb_load_bytes(skb, frame->upper + 2, &connection->destination_port, 2);
}

/* The peer of a connection that a dying process leaves with unread data is told by this one RST: it
   is remembered, so that the daemon can tell the peer later. */
static __always_inline void remember_refusal(struct __sk_buff* skb) {
  struct frame frame = {};
  struct pd_connection refusal = {};
  read_frame(skb, &frame);
  if (frame.proto != PROTO_TCP || !(frame.first & TCP_RST)) return;
  if (!read_connection(skb, &frame, &refusal)) return;
  bpf_map_push_elem(&pd_refusals, &refusal, BPF_EXIST);
}

/* A connection that is younger than the newest checkpoint is in none: whoever restores that elsewhere
   tells its peer, if it has heard of it. */
static __always_inline void remember_beginning(struct __sk_buff* skb) {
  struct frame frame = {};
  struct pd_connection begun = {};
  if (skb->len > MAX_SYN_BYTES) return;
  read_frame(skb, &frame);
  if (frame.proto != PROTO_TCP || !(frame.first & TCP_SYN)) return;
  if (!read_connection(skb, &frame, &begun)) return;
  bpf_map_push_elem(&pd_begun, &begun, BPF_EXIST);
}

#define READ_ONCE(word) (*(volatile typeof(word)*)&(word))
#define COUNT(word) __sync_fetch_and_add(&(word), 1)

SEC("tc")
int pd_gate_out(struct __sk_buff* skb) {
  __u32 zero = 0;
  struct pd_gate_entry* gate = bpf_map_lookup_elem(&pd_gate, &zero);
  if (!gate) return DROP;
  __u32 flags = READ_ONCE(gate->flags);
  if (flags & PD_GATE_LOCKED) {
    COUNT(gate->dropped_locked);
    remember_refusal(skb);
    return DROP;
  }
  if (READ_ONCE(gate->holds) != READ_ONCE(gate->holds_released)) {
    COUNT(gate->dropped_held);
    remember_refusal(skb);
    return DROP;
  }
  __u64 deadline = READ_ONCE(gate->deadline_ns);
  if (deadline != PD_GATE_NO_DEADLINE && bpf_ktime_get_boot_ns() >= deadline) {
    COUNT(gate->dropped_deadline);
    return DROP;
  }
  if (flags & (PD_GATE_ARP_ONLY | PD_GATE_RST_GUARD)) {
    struct frame frame = {};
    read_frame(skb, &frame);
    if ((flags & PD_GATE_ARP_ONLY) && !is_address_resolution(&frame)) {
      COUNT(gate->dropped_arp_only);
      remember_refusal(skb);
      return DROP;
    }
    if ((flags & PD_GATE_RST_GUARD) && is_refusal(&frame)) {
      COUNT(gate->dropped_guard);
      return DROP;
    }
  }
  remember_beginning(skb);
  COUNT(gate->passed);
  return PASS;
}

SEC("tc")
int pd_gate_in(struct __sk_buff* skb) {
  __u32 zero = 0;
  struct pd_gate_entry* gate = bpf_map_lookup_elem(&pd_gate, &zero);
  if (!gate) return DROP;
  if (READ_ONCE(gate->flags) & PD_GATE_INPUT_LOCKED) {
    COUNT(gate->input_dropped);
    return DROP;
  }
  COUNT(gate->input_passed);
  return PASS;
}
