#include "capsule/criu/image_repair.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <map>

#include "capsule/criu/image_file.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

Image* find_image(std::vector<Image>& images, std::string_view name) {
  const auto found = std::ranges::find(images, name, &Image::name);
  return found == images.end() ? nullptr : &*found;
}

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

}  // namespace

Result<std::size_t> repair_timers(std::vector<Image>& images) {
  Image* files = find_image(images, "files.img");
  if (files == nullptr) return std::size_t{0};
  PERDURE_ASSIGN(const ImageEntries parts, split_image(files->name, files->bytes, kFilesMagic));
  std::string repaired(parts.header);
  std::size_t count = 0;
  for (const std::string_view bytes : parts.entries) {
    criu::FileEntry entry;
    if (!parse(bytes, entry)) {
      return fail(ErrorCode::kCorrupt, "CRIU image 'files.img': entry cannot be parsed");
    }
    if (!entry.has_tfd() || !is_stalled(entry.tfd())) {
      append_image_entry(repaired, bytes);
      continue;
    }
    entry.mutable_tfd()->set_vnsec(1);
    append_image_entry(repaired, entry.SerializeAsString());
    ++count;
  }
  if (count > 0) files->bytes = std::move(repaired);
  return count;
}

Result<std::vector<CapturedConnection>> captured_connections(const std::vector<Image>& images) {
  std::vector<CapturedConnection> connections;
  const Image* files = find_image(images, "files.img");
  if (files == nullptr) return connections;
  PERDURE_ASSIGN(const ImageEntries parts, split_image(files->name, files->bytes, kFilesMagic));
  for (const std::string_view bytes : parts.entries) {
    criu::FileEntry entry;
    if (!parse(bytes, entry)) {
      return fail(ErrorCode::kCorrupt, "CRIU image 'files.img': entry cannot be parsed");
    }
    if (!entry.has_isk() || entry.isk().proto() != IPPROTO_TCP) continue;
    const criu::InetSocketEntry& socket = entry.isk();
    const Image* stream = find_image(images, std::format("tcp-stream-{:x}.img", socket.ino()));
    if (stream == nullptr) continue;  // listening or closed
    PERDURE_ASSIGN(const ImageEntries stream_parts,
                   split_image(stream->name, stream->bytes, kTcpStreamMagic, 1));
    criu::TcpStreamEntry tcp;
    if (stream_parts.entries.empty() || !parse(stream_parts.entries[0], tcp)) {
      return fail(ErrorCode::kCorrupt,
                  std::format("CRIU image '{}': entry cannot be parsed", stream->name));
    }
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
    connections.push_back(connection);
  }
  return connections;
}

}  // namespace perdure::capsule
