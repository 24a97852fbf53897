// Proves that a root file system comes from another node whole: from the next source if one refuses, once for all who wait for it, and
// that a taker that falls silent does not keep its place. Needs root: owners of files.
//
// How: real directories of two or three nodes, packed and unpacked as in products; the nodes are connected by FakePeers.
#include "node/cluster/image_exchange.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "image/image.h"
#include "io/test_support.h"
#include "node/testing/fake_peers.h"

namespace perdure::node::testing {
namespace {

namespace fs = std::filesystem;
namespace p1 = peer::v1;
using std::chrono_literals::operator""ms;
using ::testing::AllOf;
using ::testing::HasSubstr;

NodeName named(const std::string& name) { return NodeName::parse(name).value(); }

class ImageExchangeTest : public ::testing::Test {
 protected:
  struct Host {
    Host(ImageExchangeTest& test, const std::string& name, Duration idle = kImageTransferIdle)
        : images(test.directory_ / name),
          peers(test.network_, {named(name), Incarnation{1}}),
          exchange(*test.loop_, *test.pool_, peers, images, idle) {
      fs::create_directories(images);
      exchange.serve(peers.table);
    }
    const std::string images;
    FakePeers peers;
    ImageExchange exchange;
  };

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: trees hold owners";
    // More than one chunk, so that a transfer can be left in its middle.
    fs::create_directories(directory_ / "tree/etc");
    std::ofstream(directory_ / "tree/etc/name") << "web";
    std::ofstream large(directory_ / "tree/large", std::ios::binary);
    std::string block(std::size_t{1} << 20, 'x');
    for (std::size_t i = 0; i < 10; ++i) {
      block.front() = static_cast<char>('a' + i);
      large << block;
    }
  }
  // The tree becomes an image of that node's.
  std::string prepare(Host& host) {
    image::PrepareOptions options;
    options.images_dir = host.images;
    auto prepared = image::prepare_root(model::DirectoryRoot{directory_ / "tree"}, options);
    EXPECT_TRUE(prepared) << prepared.error().message();
    if (!prepared) return {};
    host.exchange.find_in_place = [digest = prepared->digest, tree = directory_ / "tree"](const std::string& wanted) {
      return wanted == digest ? std::optional(tree) : std::nullopt;
    };
    return prepared->digest;
  }
  void connect(Host& one, Host& other) { network_.connect(one.peers.self().node, other.peers.self().node); }
  Status fetch(Host& host, const std::string& digest, std::vector<NodeName> sources) {
    std::optional<Status> done;
    host.exchange.fetch(digest, std::move(sources), [&](Status status) { done = std::move(status); });
    EXPECT_TRUE(until([&] { return done.has_value(); }));
    return done.value_or(Status(fail(ErrorCode::kTimeout, "not done")));
  }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }
  void expect_whole(const Host& host, const std::string& digest) {
    const auto found = image::find_prepared(host.images, digest);
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->tree_digest, digest);
    EXPECT_EQ(fs::file_size(found->lower_dir + "/large"), std::uintmax_t{10} << 20);
    EXPECT_EQ(read_file(found->lower_dir + "/etc/name").value(), "web");
  }

  io::TemporaryDirectory directory_;
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({}).value();
  FakeNetwork network_{*loop_};
};

TEST_F(ImageExchangeTest, ARootFileSystemComesWhole) {
  Host a(*this, "a");
  Host b(*this, "b");
  connect(a, b);
  const std::string digest = prepare(b);
  const Status fetched = fetch(a, digest, {named("b")});
  ASSERT_TRUE(fetched) << fetched.error().message();
  expect_whole(a, digest);
  EXPECT_GE(network_.delivered(p1::Message::kImageChunk), 3U);
  EXPECT_EQ(a.exchange.open_transfers() + b.exchange.open_transfers(), 0U);
  // What is here is not fetched again.
  const std::size_t asked = network_.delivered(p1::Message::kFetchImage);
  EXPECT_TRUE(fetch(a, digest, {named("b")}));
  EXPECT_TRUE(fetch(b, digest, {}));
  EXPECT_EQ(network_.delivered(p1::Message::kFetchImage), asked);
}

TEST_F(ImageExchangeTest, TheNextSourceIsAskedWhenOneRefuses) {
  Host a(*this, "a");
  Host b(*this, "b");
  Host c(*this, "c");
  connect(a, b);
  connect(a, c);
  const std::string digest = prepare(c);
  ASSERT_TRUE(fetch(a, digest, {named("b"), named("c")}));
  expect_whole(a, digest);
}

TEST_F(ImageExchangeTest, ASourceThatIsCutOffInTheMiddleIsFollowedByTheNext) {
  Host a(*this, "a");
  Host b(*this, "b");
  Host c(*this, "c");
  connect(a, b);
  connect(a, c);
  const std::string digest = prepare(b);
  EXPECT_EQ(prepare(c), digest);
  bool cut = false;
  network_.lose = [&](const NodeName& from, const NodeName&, const p1::Message& message) {
    if (!message.has_image_chunk() || from != named("b") || message.image_chunk().last()) return false;
    if (!cut) loop_->post([&] { network_.cut(named("a"), named("b")); });
    cut = true;
    return true;
  };
  ASSERT_TRUE(fetch(a, digest, {named("b"), named("c")}));
  EXPECT_TRUE(cut);
  expect_whole(a, digest);
}

TEST_F(ImageExchangeTest, WhenNobodyHasItEachAnswerIsNamed) {
  Host a(*this, "a");
  Host b(*this, "b");
  Host c(*this, "c");
  connect(a, b);
  const std::string digest = "sha256:" + std::string(64, '0');
  const Status fetched = fetch(a, digest, {named("b"), named("c")});
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(fetched.error().message(), AllOf(HasSubstr(digest), HasSubstr("b: "), HasSubstr("c: not connected")));
  EXPECT_EQ(fetch(a, digest, {}).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(fetch(a, "../../etc", {named("b")}));
  EXPECT_EQ(a.exchange.open_transfers() + b.exchange.open_transfers(), 0U);
}

TEST_F(ImageExchangeTest, WishesForOneImageAreOneTransfer) {
  Host a(*this, "a");
  Host b(*this, "b");
  connect(a, b);
  const std::string digest = prepare(b);
  std::size_t begun = 0;
  network_.lose = [&](const NodeName&, const NodeName&, const p1::Message& message) {
    if (message.has_fetch_image() && message.fetch_image().transfer() == 0) ++begun;
    return false;
  };
  std::vector<Status> done;
  for (int i = 0; i < 3; ++i) a.exchange.fetch(digest, {named("b")}, [&](Status status) { done.push_back(std::move(status)); });
  ASSERT_TRUE(until([&] { return done.size() == 3; }));
  for (const Status& status : done) EXPECT_TRUE(status);
  EXPECT_EQ(begun, 1U);
}

TEST_F(ImageExchangeTest, WhoWishesLaterBringsItsSourcesAlong) {
  Host a(*this, "a");
  Host b(*this, "b");
  Host c(*this, "c");
  connect(a, b);
  connect(a, c);
  const std::string digest = prepare(c);
  std::vector<Status> fetched;
  const auto note = [&](Status status) { fetched.push_back(std::move(status)); };
  a.exchange.fetch(digest, {named("b")}, note);
  a.exchange.fetch(digest, {named("b"), named("c")}, note);
  ASSERT_TRUE(loop_->run_until([&] { return fetched.size() == 2; }, io::kTestTime));
  EXPECT_TRUE(fetched[0] && fetched[1]);
  expect_whole(a, digest);
}

// What a taker asks and hears, message by message.
class Taker {
 public:
  Taker(Peers& peers, NodeName from, std::string digest)
      : peers_(peers), from_(std::move(from)), digest_(std::move(digest)) {}
  void ask(std::uint64_t transfer) {
    p1::Message message;
    message.mutable_fetch_image()->set_digest(digest_);
    message.mutable_fetch_image()->set_transfer(transfer);
    peers_.request(from_, Channel::kBulk, message, {}, io::kTestTime, [this](auto answer) {
      if (answer) {
        transfers.push_back(answer->message.image_chunk().transfer());
      } else {
        ++refused;
      }
    });
  }
  std::vector<std::uint64_t> transfers;
  std::size_t refused = 0;

 private:
  Peers& peers_;
  const NodeName from_;
  const std::string digest_;
};

TEST_F(ImageExchangeTest, ThereAreOnlySoManyPlaces) {
  Host a(*this, "a");
  Host b(*this, "b");
  connect(a, b);
  Taker taker(a.peers, named("b"), prepare(b));
  for (std::size_t i = 0; i <= kMaxImageTransfers; ++i) taker.ask(0);
  ASSERT_TRUE(until([&] { return taker.transfers.size() + taker.refused == kMaxImageTransfers + 1; }));
  EXPECT_EQ(taker.refused, 1U);
}

TEST_F(ImageExchangeTest, ATakerThatFallsSilentLosesItsPlace) {
  Host a(*this, "a");
  Host b(*this, "b", 20ms);
  connect(a, b);
  Taker taker(a.peers, named("b"), prepare(b));
  taker.ask(0);
  ASSERT_TRUE(until([&] { return taker.transfers.size() == 1; }));
  ASSERT_TRUE(until([&] { return b.exchange.open_transfers() == 0; }));
  taker.ask(taker.transfers.front());
  ASSERT_TRUE(until([&] { return taker.refused == 1; })) << "it has to begin anew";
  taker.ask(0);
  EXPECT_TRUE(until([&] { return taker.transfers.size() == 2; }));
}

}  // namespace
}  // namespace perdure::node::testing
