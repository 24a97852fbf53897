#include "capsule/criu/image_repair.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <format>
#include <optional>

#include "capsule/criu/image_file.h"
#include "capsule/criu/task_repair.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

const Image* find_image(const std::vector<Image>& images, std::string_view name) {
  const auto found = std::ranges::find(images, name, &Image::name);
  return found == images.end() ? nullptr : &*found;
}

bool parse(std::string_view bytes, google::protobuf::MessageLite& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

// Silent for ever: a period, nothing left until the next expiry.
bool is_stalled(const criu::TimerfdEntry& timer) {
  return (timer.isec() != 0 || timer.insec() != 0) && timer.vsec() == 0 && timer.vnsec() == 0 &&
         timer.ticks() != 0;
}

// Mends the entries of one image in place. `mend` returns whether it changed the entry.
template <typename Entry, typename Mend>
Result<std::size_t> mend_entries(Image& image, std::uint32_t magic, Mend mend) {
  PERDURE_ASSIGN(const ImageEntries parts, split_image(image.name, image.bytes, magic));
  std::string repaired(parts.header);
  std::size_t count = 0;
  for (const std::string_view bytes : parts.entries) {
    Entry entry;
    if (!parse(bytes, entry)) {
      return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}': entry cannot be parsed", image.name));
    }
    if (mend(entry)) {
      append_image_entry(repaired, entry.SerializeAsString());
      ++count;
    } else {
      append_image_entry(repaired, bytes);
    }
  }
  if (count > 0) image.bytes = std::move(repaired);
  return count;
}

bool mend_timerfd(criu::FileEntry& entry) {
  if (!entry.has_tfd() || !is_stalled(entry.tfd())) return false;
  entry.mutable_tfd()->set_vnsec(1);
  return true;
}

// CRIU arms the timers and then keeps each process stopped until all are complete: one or two milliseconds for
// each, more on a busy host.
std::chrono::microseconds soonest_expiry(std::size_t processes) {
  constexpr std::chrono::milliseconds kForTheFirst{20};
  constexpr std::chrono::milliseconds kForEach{5};
  constexpr std::size_t kMost = 100;
  return kForTheFirst + kForEach * static_cast<int>(std::min(processes, kMost));
}

// "core-17.img" -> 17
std::optional<pid_t> pid_of_core(std::string_view name) {
  constexpr std::string_view kPrefix = "core-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  pid_t pid = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, pid);
  if (error != std::errc() || std::string_view(stop, end) != ".img") return std::nullopt;
  return pid;
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

// Behind the entry lie the bytes of the receive queue, then those of the send queue.
std::string unacknowledged_bytes(const Image& stream, const criu::TcpStreamEntry& tcp) {
  const auto parts = split_image(stream.name, stream.bytes, kTcpStreamMagic, 1);
  if (!parts || parts->entries.empty()) return {};
  const std::size_t end = static_cast<std::size_t>(parts->entries[0].data() - stream.bytes.data()) + parts->entries[0].size();
  const std::size_t begin = end + tcp.inq_len();
  const std::size_t sent = tcp.outq_len() - std::min(tcp.outq_len(), tcp.unsq_len());
  if (begin >= stream.bytes.size()) return {};
  return stream.bytes.substr(begin, std::min<std::size_t>(sent, kMaxUnacknowledgedBytes));
}

struct TcpSocket {
  criu::InetSocketEntry socket;
  std::size_t stream = 0;  // the image that holds its queues, by its place
  criu::TcpStreamEntry tcp;
};

// Those that have queues: neither listening nor closed.
Result<std::vector<TcpSocket>> tcp_sockets(const std::vector<Image>& images) {
  std::vector<TcpSocket> sockets;
  const Image* files = find_image(images, "files.img");
  if (files == nullptr) return sockets;
  PERDURE_ASSIGN(const ImageEntries parts, split_image(files->name, files->bytes, kFilesMagic));
  for (const std::string_view bytes : parts.entries) {
    criu::FileEntry entry;
    if (!parse(bytes, entry)) {
      return fail(ErrorCode::kCorrupt, "CRIU image 'files.img': entry cannot be parsed");
    }
    if (!entry.has_isk() || entry.isk().proto() != IPPROTO_TCP) continue;
    const Image* stream = find_image(images, std::format("tcp-stream-{:x}.img", entry.isk().ino()));
    if (stream == nullptr) continue;
    PERDURE_ASSIGN(const ImageEntries stream_parts,
                   split_image(stream->name, stream->bytes, kTcpStreamMagic, 1));
    TcpSocket& socket = sockets.emplace_back();
    if (stream_parts.entries.empty() || !parse(stream_parts.entries[0], socket.tcp)) {
      return fail(ErrorCode::kCorrupt,
                  std::format("CRIU image '{}': entry cannot be parsed", stream->name));
    }
    socket.socket = entry.isk();
    socket.stream = static_cast<std::size_t>(stream - images.data());
  }
  return sockets;
}

}  // namespace

Result<Repairs> repair_images(std::vector<Image>& images, const PendingSignals& pending,
                              std::chrono::microseconds until) {
  Repairs repairs;
  const auto soonest = soonest_expiry(pending.size());
  for (Image& image : images) {
    Result<std::size_t> mended = std::size_t{0};
    if (image.name == "files.img") mended = mend_entries<criu::FileEntry>(image, kFilesMagic, mend_timerfd);
    if (const auto pid = pid_of_core(image.name)) {
      const auto found = pending.find(*pid);
      const std::uint64_t signals = found == pending.end() ? 0 : found->second;
      mended = mend_entries<criu::CoreEntry>(image, kCoreMagic, [&](criu::CoreEntry& core) {
        if (found != pending.end() && waits_past_its_signal(core, signals, until)) repairs.interrupted.push_back(*pid);
        return mend_task(core, signals, soonest);
      });
    }
    PERDURE_ASSIGN(const std::size_t in_this_one, std::move(mended));
    repairs.entries += in_this_one;
  }
  return repairs;
}

Result<std::vector<CapturedConnection>> captured_connections(const std::vector<Image>& images) {
  std::vector<CapturedConnection> connections;
  PERDURE_ASSIGN(const std::vector<TcpSocket> sockets, tcp_sockets(images));
  for (const auto& [socket, stream, tcp] : sockets) {
    CapturedConnection connection;
    connection.ipv6 = socket.family() == AF_INET6;
    load_address(socket.src_addr(), connection.local_address);
    load_address(socket.dst_addr(), connection.remote_address);
    if (connection.ipv6) unmap(connection);
    connection.local_port = static_cast<std::uint16_t>(socket.src_port());
    connection.remote_port = static_cast<std::uint16_t>(socket.dst_port());
    connection.send_unacknowledged = tcp.outq_seq() - tcp.outq_len();
    connection.send_next = tcp.outq_seq() - tcp.unsq_len();
    connection.receive_next = tcp.inq_seq();
    if (tcp.has_timestamp()) connection.timestamp = tcp.timestamp();
    connection.unacknowledged = unacknowledged_bytes(images[stream], tcp);
    connections.push_back(connection);
  }
  return connections;
}

}  // namespace perdure::capsule
