// SPDX-License-Identifier: MIT
//
// Looks at every packet that an interface receives, before the network stack does: drops those from blocked addresses,
// passes all others, and writes a record of each that is wanted into a ring buffer. Whatever happens to a packet is
// counted once:
//
//   seen   == blocked + passed
//   passed == recorded + lost + not_ip + malformed + unneeded
//
// xdp.py knows the layouts of `record` and `counters`, and the names of the maps and programs. When one of them changes,
// the number at the end of the programs' names changes too, there and here: what was compiled before is refused then.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_TAGS 2
#define EXTENSION_HEADERS 8
#define FARTHEST 4096 // where a transport header may begin; the verifier wants to know

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct record {
    __u64 time;    // nanoseconds, CLOCK_MONOTONIC
    __u32 length;  // bytes on the wire
    __u16 sport;   // both in the order of the host; 0 without a transport header
    __u16 dport;
    __u8 version;  // of IP
    __u8 protocol;
    __u8 flags;    // of TCP
    __u8 header;   // whether there is a transport header of TCP or UDP
    __u8 unused[4];
    __u8 src[16];  // IPv4 has the first four
    __u8 dst[16];
};

struct counters {
    __u64 seen;
    __u64 blocked;
    __u64 passed;
    __u64 recorded;
    __u64 lost; // the ring buffer was full
    __u64 not_ip;
    __u64 malformed;
    __u64 unneeded;
};

struct prefix4 {
    __u32 bits;
    __u8 address[4];
};

struct prefix6 {
    __u32 bits;
    __u8 address[16];
};

struct connection {
    __u8 src[16];
    __u8 dst[16];
    __u16 sport;
    __u16 dport;
};

// How many entries there may be is set when the program is loaded.

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} records SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct counters);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, struct prefix4);
    __type(value, __u8);
} block4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, struct prefix6);
    __type(value, __u8);
} block6 SEC(".maps");

// Connections that were asked for, and that no ACK was seen of.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct connection);
    __type(value, __u8);
} pending SEC(".maps");

enum outcome { IP, NOT_IP, MALFORMED };

// Reads ports and flags of what begins at `at`, if it is all there before `end`: both count from the frame's begin.
static __always_inline void parse_transport(struct xdp_md *context, struct record *record, __u32 at, __u32 end) {
    void *data = (void *)(long)context->data, *data_end = (void *)(long)context->data_end;
    __u8 *header = data + at;

    if (at > FARTHEST)
        return;
    if (record->protocol == IPPROTO_TCP) {
        // The shortest header that TCP may say it has is of 20 bytes.
        if (at + 20 > end || (void *)(header + 20) > data_end || header[12] >> 4 < 5)
            return;
        record->flags = header[13];
    } else if (record->protocol == IPPROTO_UDP) {
        if (at + 8 > end || (void *)(header + 8) > data_end)
            return;
    } else {
        return;
    }
    record->sport = header[0] << 8 | header[1];
    record->dport = header[2] << 8 | header[3];
    record->header = 1;
}

static __always_inline enum outcome parse_ip4(struct xdp_md *context, struct record *record, __u32 at) {
    void *data = (void *)(long)context->data, *data_end = (void *)(long)context->data_end;
    __u8 *header = data + at;
    __u32 length, total, end = context->data_end - context->data;

    if ((void *)(header + 20) > data_end)
        return MALFORMED;
    length = (header[0] & 0x0f) * 4;
    if (length < 20)
        return MALFORMED;
    total = header[2] << 8 | header[3];
    if (total && at + total < end) // 0: left to the network card; less than the frame: padding
        end = at + total;
    record->version = 4;
    record->protocol = header[9];
    __builtin_memcpy(record->src, header + 12, 4);
    __builtin_memcpy(record->dst, header + 16, 4);
    if (((header[6] & 0x1f) << 8 | header[7]) == 0) // the first fragment, or the only one
        parse_transport(context, record, at + length, end);
    return IP;
}

static __always_inline enum outcome parse_ip6(struct xdp_md *context, struct record *record, __u32 at) {
    void *data = (void *)(long)context->data, *data_end = (void *)(long)context->data_end;
    __u8 *header = data + at;
    __u32 total, end = context->data_end - context->data;
    __u8 next;

    if ((void *)(header + 40) > data_end)
        return MALFORMED;
    total = header[4] << 8 | header[5];
    at += 40;
    if (total && at + total < end)
        end = at + total;
    record->version = 6;
    __builtin_memcpy(record->src, header + 8, 16);
    __builtin_memcpy(record->dst, header + 24, 16);
    next = header[6];
    for (int number = 0; number < EXTENSION_HEADERS; number++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_AH &&
            next != IPPROTO_FRAGMENT)
            break;
        header = data + at;
        if (at > FARTHEST || at + 8 > end || (void *)(header + 8) > data_end)
            return MALFORMED;
        record->protocol = header[0];
        if (next == IPPROTO_FRAGMENT) {
            if (header[2] || header[3] & 0xf8)
                return IP; // a later fragment: what follows is no header
            at += 8;
        } else if (next == IPPROTO_AH) {
            at += (header[1] + 2) * 4;
        } else {
            at += (header[1] + 1) * 8;
        }
        next = header[0];
    }
    record->protocol = next;
    parse_transport(context, record, at, end);
    return IP;
}

static __always_inline enum outcome parse(struct xdp_md *context, struct record *record) {
    void *data = (void *)(long)context->data, *data_end = (void *)(long)context->data_end;
    __u32 at = ETH_HLEN;
    __u8 *header = data;
    __u16 type;

    if ((void *)(header + ETH_HLEN) > data_end)
        return MALFORMED;
    type = header[12] << 8 | header[13];
    for (int number = 0; number < VLAN_TAGS; number++) {
        if (type != ETH_P_8021Q && type != ETH_P_8021AD)
            break;
        header = data + at;
        if ((void *)(header + 4) > data_end)
            return MALFORMED;
        type = header[2] << 8 | header[3];
        at += 4;
    }
    if (type == ETH_P_IP)
        return parse_ip4(context, record, at);
    if (type == ETH_P_IPV6)
        return parse_ip6(context, record, at);
    return NOT_IP;
}

static __always_inline int is_blocked(const struct record *record) {
    if (record->version == 4) {
        struct prefix4 prefix = {.bits = 32};

        __builtin_memcpy(prefix.address, record->src, 4);
        return bpf_map_lookup_elem(&block4, &prefix) != 0;
    } else {
        struct prefix6 prefix = {.bits = 128};

        __builtin_memcpy(prefix.address, record->src, 16);
        return bpf_map_lookup_elem(&block6, &prefix) != 0;
    }
}

static __always_inline void name_connection(struct connection *connection, const struct record *record) {
    __builtin_memcpy(connection->src, record->src, 16);
    __builtin_memcpy(connection->dst, record->dst, 16);
    connection->sport = record->sport;
    connection->dport = record->dport;
}

static __always_inline int watch(struct xdp_md *context, int all) {
    struct record record = {};
    struct connection connection = {};
    struct counters *counters;
    enum outcome outcome;
    __u32 zero = 0;
    __u8 one = 1;
    int settles = 0;

    counters = bpf_map_lookup_elem(&counts, &zero);
    if (!counters)
        return XDP_PASS;
    counters->seen++;
    outcome = parse(context, &record);
    if (outcome == IP && is_blocked(&record)) {
        counters->blocked++;
        return XDP_DROP;
    }
    counters->passed++;
    if (outcome == NOT_IP) {
        counters->not_ip++;
        return XDP_PASS;
    }
    if (outcome == MALFORMED) {
        counters->malformed++;
        return XDP_PASS;
    }
    if (!all) {
        // What begins, and what ends something half-open: the ACKs of established connections are most of the traffic.
        __u8 flags = record.flags;

        if (!record.header || record.protocol != IPPROTO_TCP)
            goto unneeded;
        name_connection(&connection, &record);
        if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
            bpf_map_update_elem(&pending, &connection, &one, BPF_ANY);
        } else if (flags & TCP_ACK && !(flags & TCP_RST)) {
            if (flags & TCP_SYN || !bpf_map_lookup_elem(&pending, &connection))
                goto unneeded;
            settles = 1;
        }
    }
    record.time = bpf_ktime_get_ns();
    record.length = context->data_end - context->data;
    if (bpf_ringbuf_output(&records, &record, sizeof(record), 0)) {
        counters->lost++;
        return XDP_PASS;
    }
    counters->recorded++;
    if (settles) // and not before it was told
        bpf_map_delete_elem(&pending, &connection);
    return XDP_PASS;

unneeded:
    counters->unneeded++;
    return XDP_PASS;
}

SEC("xdp")
int ironpost_all_v1(struct xdp_md *context) {
    return watch(context, 1);
}

SEC("xdp")
int ironpost_few_v1(struct xdp_md *context) {
    return watch(context, 0);
}

char _license[] SEC("license") = "MIT";
