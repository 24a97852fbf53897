// Fuzzes what a standby does with what comes over the wire from a peer that is trusted to be a node
// and nothing more. An input is a list of messages; each carries an encoded capsule whose digests
// are made right (or left wrong), so that inputs get past the digests. Whatever comes: the budget
// holds, what is acknowledged can be fetched, what was held stays, terms do not fall.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "capsule.pb.h"
#include "capsule/format/codec.h"
#include "capsule/format/layout.h"
#include "capsule/format/test_capsules.h"
#include "replica/standby_world.h"

namespace {

using namespace perdure;
using namespace perdure::replica;
using perdure::capsule::testing::generation;
using perdure::capsule::testing::joined;
using perdure::capsule::testing::slab_of;
using perdure::capsule::testing::small_capsule;
using perdure::replica::testing::TestDisk;

constexpr std::size_t kMaxInputBytes = 4096;
constexpr std::size_t kMaxMessages = 24;
constexpr std::uint64_t kBudget = std::uint64_t{160} << 10;

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t next() {
    if (bytes_.empty()) return 0;
    const std::uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

// Changes bytes of the parts, or fields of the header, and makes the digests right again: a peer
// that lies well.
std::string tampered(const std::string& file, Input& input) {
  capsule::v1::Header header;
  std::uint32_t header_bytes = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    header_bytes |= static_cast<std::uint32_t>(static_cast<unsigned char>(file[12 + i])) << (8 * i);
  }
  const std::string body = file.substr(capsule::kPreludeBytes, header_bytes);
  if (!header.ParseFromString(body)) return file;
  std::vector<capsule::Part> parts;
  for (int i = 0; i < header.part_kind_size(); ++i) {
    capsule::Part part;
    part.kind = static_cast<capsule::PartKind>(header.part_kind(i));
    part.codec = static_cast<capsule::Compression>(header.part_codec(i));
    part.stored_bytes = header.part_stored_bytes(i);
    parts.push_back(part);
  }
  capsule::place_parts(capsule::kPreludeBytes + body.size(), parts);
  std::vector<std::string> stored;
  for (const capsule::Part& part : parts)
    stored.push_back(file.substr(part.offset, part.stored_bytes));
  for (int changes = input.next() % 4; changes > 0; --changes) {
    std::string& part = stored[input.next() % stored.size()];
    if (part.empty()) continue;
    part[(input.next() * 256u + input.next()) % part.size()] = static_cast<char>(input.next());
  }
  std::string digests;
  for (const std::string& part : stored) {
    const auto digest = capsule::to_bytes(capsule::digest_of(std::as_bytes(std::span(part))));
    digests.append(digest.data(), digest.size());
  }
  header.set_part_digests(digests);
  const std::string sealed_body = header.SerializeAsString();
  std::string sealed("PERDCAP1\x01\0\0\0", 12);
  for (int i = 0; i < 4; ++i) sealed += static_cast<char>(sealed_body.size() >> (8 * i));
  const auto digest = capsule::to_bytes(capsule::digest_of(std::as_bytes(std::span(sealed_body))));
  sealed.append(digest.data(), digest.size());
  sealed += sealed_body;
  capsule::place_parts(sealed.size(), parts);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    sealed.resize(parts[i].offset);
    sealed += stored[i];
  }
  return sealed;
}

class Session {
 public:
  explicit Session(Spill spill) : table_(options(spill)) {}

  void step(Input& input) {
    const std::uint8_t what = input.next();
    const Term term{3u + (input.next() & 3u)};
    const Generation id =
        generation(1u + input.next() % 8u, 0x1f + (what >> 7), 3u + (input.next() & 3u));
    const Term before = table_.term_of(name_);
    switch (what % 6) {
      case 0:
        (void)table_.commit(name_, term, id);
        break;
      case 1:
        (void)table_.discard(name_, term, {id});
        break;
      case 2:
        if (input.next() == 0) (void)table_.drop(name_, term);
        break;
      default:
        receive(term, id, input);
    }
    PERDURE_ASSERT(!(table_.term_of(name_) < before));
    PERDURE_ASSERT(table_.memory().count <= kBudget);
    const auto held = table_.find(name_);
    if (held && held->newest_committed) {
      const auto restored = table_.fetch(name_, std::nullopt);
      PERDURE_ASSERT(!restored || !((*restored)->manifest.generation < *held->newest_committed));
    }
  }

 private:
  StandbyTableOptions options(Spill spill) {
    StandbyTableOptions options = disk_.options(Bytes{kBudget}, 4);
    options.spill = spill;
    options.content_limit = Bytes{std::uint64_t{1} << 20};
    options.max_generations = 12;
    return options;
  }

  void receive(Term term, const Generation& id, Input& input) {
    capsule::Capsule capsule = small_capsule(id.number, static_cast<char>('a' + input.next() % 4));
    capsule.manifest.generation = id;
    ReceivedCapsule received{name_, term, id, std::nullopt, std::nullopt, false, nullptr};
    const std::uint8_t form = input.next();
    const auto held = table_.find(name_);
    capsule::EncodedCapsule encoded;
    const auto base = (form & 1) != 0 && held
                          ? table_.fetch(name_, held->newest->generation)
                          : Result<capsule::CapsuleRef>(fail(ErrorCode::kNotFound, ""));
    const auto compression = static_cast<capsule::Compression>((form >> 1) % 3);
    if (base && (*base)->manifest.generation < id) {
      received.base = held->newest;
      encoded = capsule::testing::encoded_delta(capsule, **base, held->newest->digest, compression);
    } else {
      encoded = capsule::testing::encoded_full(capsule, compression);
    }
    if ((form & 8) != 0) received.committed = generation(input.next() % 8u);
    received.provisional = (form & 16) != 0;
    if ((form & 32) != 0) received.base = Holding{generation(input.next() % 8u), {input.next(), 0}};
    if ((form & 64) != 0) received.generation.number += input.next() % 3u;
    received.bytes =
        slab_of((form & 128) != 0 ? tampered(joined(encoded), input) : joined(encoded));
    const std::size_t generations = held ? held->generations : 0;
    const auto receipt = table_.receive(received);
    if (receipt) {
      PERDURE_ASSERT(receipt->holding.generation == received.generation);
      PERDURE_ASSERT(!(term < table_.term_of(name_)));
      const auto fetched = table_.fetch(name_, received.generation);
      // A repetition may be told of what its own commit then lets go.
      PERDURE_ASSERT(fetched || received.committed.has_value());
    } else {
      const auto now = table_.find(name_);
      PERDURE_ASSERT((now ? now->generations : 0) == generations);
    }
  }

  TestDisk disk_;
  const ContainerName name_ = *ContainerName::parse("web");
  StandbyTable table_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kMaxInputBytes) return 0;
  Input input({data, size});
  Session session((input.next() & 1) != 0 ? Spill::kToDisk : Spill::kRefuse);
  for (std::size_t i = 0; i < kMaxMessages && !input.empty(); ++i) session.step(input);
  return 0;
}
