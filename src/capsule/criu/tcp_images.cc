#include "capsule/criu/tcp_images.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <set>

#include "capsule/criu/image_file.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

// Further ahead a peer would take a timestamp for an old one (RFC 7323, section 5.2).
constexpr std::uint64_t kLatestTimestamp = std::uint64_t{1} << 30;
// Linux counts timestamps in microseconds where a route asks for it; TCP_TIMESTAMP says so in its lowest bit (from 6.7
// on; before, that bit is part of the value, which may become one too large).
constexpr std::uint32_t kInMicroseconds = 1;
constexpr std::uint32_t kNextTimestamp = 2;
constexpr unsigned kLargestWindowScale = 14;  // RFC 7323, section 2.3

std::unexpected<Error> corrupt(std::string_view image, std::string_view why) {
  return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}': {}", image, why));
}

// Behind the entry lie the bytes of the receive queue, then those of the send queue.
struct Stream {
  criu::TcpStreamEntry tcp;
  std::string_view header;
  std::string_view received;
  std::string_view to_send;
};

Result<Stream> read_stream(const Image& image) {
  PERDURE_ASSIGN(const ImageEntries parts, split_image(image.name, image.bytes, kTcpStreamMagic, 1));
  Stream stream;
  if (parts.entries.empty() || !parse_message(parts.entries[0], stream.tcp)) return corrupt(image.name, "entry cannot be parsed");
  stream.header = parts.header;
  const auto end = static_cast<std::size_t>(parts.entries[0].data() - image.bytes.data()) + parts.entries[0].size();
  const std::string_view queues = std::string_view(image.bytes).substr(end);
  const std::uint64_t expected = std::uint64_t{stream.tcp.inq_len()} + stream.tcp.outq_len();
  if (queues.size() < expected) return corrupt(image.name, "bytes of its queues are missing");
  if (stream.tcp.unsq_len() > stream.tcp.outq_len()) return corrupt(image.name, "more is unsent than is to be sent");
  if (stream.tcp.snd_wscale() > kLargestWindowScale || stream.tcp.rcv_wscale() > kLargestWindowScale) {
    return corrupt(image.name, "no TCP has such a window scale");
  }
  stream.received = queues.substr(0, stream.tcp.inq_len());
  stream.to_send = queues.substr(stream.tcp.inq_len(), stream.tcp.outq_len());
  return stream;
}

Image write_stream(const std::string& name, const Stream& stream) {
  Image image{name, std::string(stream.header)};
  append_image_entry(image.bytes, stream.tcp.SerializeAsString());
  image.bytes += stream.received;
  image.bytes += stream.to_send;
  return image;
}

bool is_one_of(std::uint32_t state, std::initializer_list<std::uint32_t> states) {
  return std::ranges::find(states, state) != states.end();
}
// The FIN counts in a queue's sequence numbers, never in its length (refresh_sk in soccr/soccr.c).
bool fin_is_under_way(std::uint32_t state) { return is_one_of(state, {TCP_FIN_WAIT1, TCP_CLOSING, TCP_LAST_ACK}); }

// The receive window that is left of what was offered last.
std::uint32_t window_left(const criu::TcpStreamEntry& tcp) {
  const std::uint32_t left = tcp.rcv_wup() + tcp.rcv_wnd() - tcp.inq_seq();
  return std::min(left, tcp.rcv_wnd());
}

void load_address(const google::protobuf::RepeatedField<std::uint32_t>& words,
                  std::array<std::uint8_t, 16>& address) {
  for (int i = 0; i < words.size() && i < 4; ++i) {
    const std::uint32_t word = words[i];  // as it stood in memory: network byte order
    std::memcpy(address.data() + 4 * i, &word, sizeof word);
  }
}

// An IPv6 socket may talk IPv4 (RFC 4291, 2.5.5.2: ::ffff:a.b.c.d); on the wire it is an IPv4 connection.
void unmap(CapturedConnection& connection) {
  constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const auto is_mapped = [&](const std::array<std::uint8_t, 16>& address) {
    return std::equal(kMapped.begin(), kMapped.end(), address.begin());
  };
  if (!is_mapped(connection.local_address) || !is_mapped(connection.remote_address)) return;
  connection.ipv6 = false;
  for (auto* address : {&connection.local_address, &connection.remote_address}) {
    std::copy(address->begin() + kMapped.size(), address->end(), address->begin());
    std::fill(address->begin() + 4, address->end(), std::uint8_t{0});
  }
}

CapturedConnection describe(const criu::InetSocketEntry& socket, const Stream& stream, const std::string& image) {
  const criu::TcpStreamEntry& tcp = stream.tcp;
  CapturedConnection connection;
  connection.ipv6 = socket.family() == AF_INET6;
  load_address(socket.src_addr(), connection.local_address);
  load_address(socket.dst_addr(), connection.remote_address);
  if (connection.ipv6) unmap(connection);
  connection.local_port = static_cast<std::uint16_t>(socket.src_port());
  connection.remote_port = static_cast<std::uint16_t>(socket.dst_port());
  const std::uint32_t fin = fin_is_under_way(socket.state()) ? 1 : 0;
  connection.send_unacknowledged = tcp.outq_seq() - tcp.outq_len() - fin;
  // A FIN behind bytes that are not sent is not sent either.
  connection.send_next = tcp.outq_seq() - tcp.unsq_len() - (tcp.unsq_len() > 0 ? fin : 0);
  connection.receive_next = tcp.inq_seq();
  const std::uint32_t window = window_left(tcp) >> tcp.rcv_wscale();
  connection.window = static_cast<std::uint16_t>(std::min<std::uint32_t>(window, UINT16_MAX));
  if (tcp.has_timestamp()) connection.timestamp = tcp.timestamp();
  connection.to_send = tcp.outq_len();
  const std::size_t sent = tcp.outq_len() - tcp.unsq_len();
  connection.unacknowledged = stream.to_send.substr(0, std::min(sent, kMaxUnacknowledgedBytes));
  connection.open = is_one_of(socket.state(), {TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT});
  connection.shut_by_container = fin_is_under_way(socket.state()) || socket.state() == TCP_FIN_WAIT2;
  connection.shut_by_peer = is_one_of(socket.state(), {TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING});
  connection.image = image;
  return connection;
}

const Image* find_image(const std::vector<Image>& images, std::string_view name) {
  const auto found = std::ranges::find(images, name, &Image::name);
  return found == images.end() ? nullptr : &*found;
}

Result<std::vector<criu::InetSocketEntry>> tcp_sockets(const std::vector<Image>& images) {
  std::vector<criu::InetSocketEntry> sockets;
  const Image* files = find_image(images, "files.img");
  if (files == nullptr) return sockets;
  PERDURE_ASSIGN(const ImageEntries parts, split_image(files->name, files->bytes, kFilesMagic));
  for (const std::string_view bytes : parts.entries) {
    criu::FileEntry entry;
    if (!parse_message(bytes, entry)) return corrupt(files->name, "entry cannot be parsed");
    if (entry.has_isk() && entry.isk().proto() == IPPROTO_TCP) sockets.push_back(entry.isk());
  }
  return sockets;
}

}  // namespace

Result<std::vector<CapturedConnection>> captured_connections(const std::vector<Image>& images) {
  PERDURE_ASSIGN(const std::vector<criu::InetSocketEntry> sockets, tcp_sockets(images));
  std::set<std::uint32_t> listening;
  for (const criu::InetSocketEntry& socket : sockets) {
    if (socket.state() == TCP_LISTEN) listening.insert(socket.src_port());
  }
  std::vector<CapturedConnection> connections;
  for (const criu::InetSocketEntry& socket : sockets) {
    // Neither those that listen nor those that are closed have queues.
    const Image* image = find_image(images, std::format("tcp-stream-{:x}.img", socket.ino()));
    if (image == nullptr) continue;
    PERDURE_ASSIGN(const Stream stream, read_stream(*image));
    connections.push_back(describe(socket, stream, image->name));
    connections.back().listens = listening.contains(socket.src_port());
  }
  return connections;
}

Result<std::size_t> drop_windows_of_begun(std::vector<Image>& images) {
  PERDURE_ASSIGN(const std::vector<criu::InetSocketEntry> sockets, tcp_sockets(images));
  std::size_t count = 0;
  for (const criu::InetSocketEntry& socket : sockets) {
    if (socket.state() != TCP_SYN_SENT) continue;
    const auto image = std::ranges::find(images, std::format("tcp-stream-{:x}.img", socket.ino()), &Image::name);
    if (image == images.end()) continue;
    PERDURE_ASSIGN(Stream stream, read_stream(*image));
    stream.tcp.clear_snd_wl1();
    stream.tcp.clear_snd_wnd();
    stream.tcp.clear_max_window();
    stream.tcp.clear_rcv_wnd();
    stream.tcp.clear_rcv_wup();
    *image = write_stream(std::string(image->name), stream);
    ++count;
  }
  return count;
}

Result<Image> image_at(const Image& stream, const CapturedConnection& connection, const PeerPosition& peer) {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::kInvalid, std::format("CRIU image '{}': {}", stream.name, why));
  };
  PERDURE_ASSIGN(Stream moved, read_stream(stream));
  criu::TcpStreamEntry& tcp = moved.tcp;
  const std::uint32_t received = peer.received - connection.send_unacknowledged;
  if (static_cast<std::int32_t>(received) < 0) return refuse("the peer lacks bytes that it had acknowledged");
  if (static_cast<std::int32_t>(peer.sent - connection.receive_next) < 0) return refuse("the peer is behind what it had sent");
  if (connection.shut_by_peer && peer.sent != connection.receive_next) return refuse("the peer sends on behind its end");
  const std::uint32_t end = connection.shut_by_container ? tcp.outq_seq() - connection.send_unacknowledged : UINT32_MAX;
  if (received > end) return refuse("the peer has received what lies behind the end of the connection");

  const std::uint32_t dropped = std::min(received, tcp.outq_len());
  moved.to_send.remove_prefix(dropped);
  tcp.set_outq_len(tcp.outq_len() - dropped);
  tcp.set_unsq_len(tcp.outq_len());
  if (!connection.shut_by_container && received > dropped) tcp.set_outq_seq(peer.received);

  const std::uint32_t offered = window_left(tcp);
  tcp.set_inq_seq(peer.sent);
  if (tcp.has_snd_wnd()) {
    tcp.set_rcv_wnd(offered);
    tcp.set_rcv_wup(peer.sent);
    tcp.set_snd_wl1(peer.sent - 1);  // older than whatever comes: its window counts
    tcp.set_snd_wnd(std::uint32_t{peer.window} << tcp.snd_wscale());
    tcp.set_max_window(std::max(tcp.max_window(), tcp.snd_wnd()));
  }
  if (tcp.has_timestamp() && peer.timestamp_echo) {
    const std::uint32_t next = *peer.timestamp_echo + kNextTimestamp;
    const std::uint32_t latest = static_cast<std::int32_t>(next - tcp.timestamp()) > 0 ? next : tcp.timestamp();
    tcp.set_timestamp((latest & ~kInMicroseconds) | (tcp.timestamp() & kInMicroseconds));
  }
  return write_stream(stream.name, moved);
}

std::uint32_t timestamp_after(std::uint32_t timestamp, std::chrono::milliseconds later) {
  constexpr std::uint64_t kMicrosecondsEach = 1000;
  if (later <= std::chrono::milliseconds::zero()) return timestamp;
  const std::uint64_t milliseconds = std::min(static_cast<std::uint64_t>(later.count()), kLatestTimestamp);
  const std::uint64_t ticks = milliseconds * ((timestamp & kInMicroseconds) != 0 ? kMicrosecondsEach : 1);
  return timestamp + (static_cast<std::uint32_t>(std::min(ticks, kLatestTimestamp)) & ~kInMicroseconds);
}

Result<std::optional<Image>> image_later(const Image& stream, std::chrono::milliseconds later) {
  PERDURE_ASSIGN(Stream moved, read_stream(stream));
  if (!moved.tcp.has_timestamp() || later <= std::chrono::milliseconds::zero()) return std::nullopt;
  moved.tcp.set_timestamp(timestamp_after(moved.tcp.timestamp(), later));
  return write_stream(stream.name, moved);
}

}  // namespace perdure::capsule
