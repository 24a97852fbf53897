// Proves on real members, each in a network namespace of its own and joined by a bridge, over TLS: one becomes three through
// learners, the leader's death, a member's loss and return, its removal, a snapshot and what is restored from it, and a cluster that is forced
// to go on with one. And that etcd outlives the perdured that started it.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <format>
#include <map>

#include "coord/cluster_keys.h"
#include "coord/etcd_admin.h"
#include "coord/etcd_test_support.h"
#include "coord/member_decision.h"
#include "coord/record_store.h"
#include "coord/snapshot_keeper.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::HasSubstr;

// Members 1 to 3: 10.77.0.N in the namespace "pcN", on a bridge in ours, which is 10.77.0.254. All go with the namespaces' last user.
class EtcdCluster : public testing::Test {
 protected:
  struct Member {
    UniqueFd netns;
    EtcdTlsFiles tls;
    std::unique_ptr<EtcdServer> server;
  };

  void SetUp() override {
    if (!enter_network_of_our_own()) GTEST_SKIP() << "needs root: makes network namespaces";
    ASSERT_TRUE(succeeded(require_tls_1_3()));
    run("ip link add br77 type bridge && ip addr add 10.77.0.254/24 dev br77 && ip link set br77 up");
    certificates_ = std::make_unique<TestCertificates>(directory_ / "tls");
    client_files_ = certificates_->make("client", "IP:10.77.0.254");
    program_ = mortal_etcd(directory_.path());
  }

  void TearDown() override {
    client_.reset();
    members_.clear();
    if (!IsSkipped()) run("ip link del br77; for port in p1 p2 p3; do ip link del $port 2>/dev/null || true; done");
  }

  static std::string url(int number, int port) { return std::format("https://10.77.0.{}:{}", number, port); }
  static std::string name(int number) { return std::format("node-{}", number); }

  // A namespace without a name, held open by a descriptor: nothing is left of it whatever happens.
  static UniqueFd make_namespace(int number) {
    auto holder = value_of(io::ChildProcess::spawn({"unshare", "--net", "sh", "-c", "echo; exec sleep 100"},
                                                   {.standard_output = io::Stdio::kPipe}));
    char ready = 0;
    EXPECT_EQ(::read(holder.standard_output.get(), &ready, 1), 1);
    run(std::format("ip link add p{0} type veth peer name eth0 netns {1}; ip link set p{0} master br77 up;"
                    "nsenter -t {1} -n sh -ec 'ip link set lo up; ip addr add 10.77.0.{0}/24 dev eth0; ip link set eth0 up'",
                    number, holder.pid()));
    return value_of(open_file(std::format("/proc/{}/ns/net", holder.pid()), O_RDONLY));
  }

  Member& member(int number) {
    Member& one = members_[number];
    if (one.netns) return one;
    one.netns = make_namespace(number);
    one.tls = certificates_->make(name(number), std::format("IP:10.77.0.{},IP:127.0.0.1", number));
    return one;
  }

  EtcdServerOptions options(int number) {
    Member& one = member(number);
    EtcdServerOptions options;
    options.name = name(number);
    options.data_directory = directory_ / name(number);
    options.log_file = directory_ / (name(number) + ".log");
    options.client_url = url(number, 7401);
    options.peer_url = url(number, 7402);
    options.tls = one.tls;
    options.program = program_;
    options.namespaces = {one.netns.get()};
    return options;
  }

  void start(int number, const EtcdStartRequest& request) {
    Member& one = member(number);
    one.server = std::make_unique<EtcdServer>(*loop_, options(number));
    ASSERT_TRUE(succeeded(one.server->start(request)));
  }

  void stop(int number) {
    bool stopped = false;
    members_[number].server->stop([&] { stopped = true; });
    ASSERT_TRUE(loop_->run_until([&] { return stopped; }, kPatience));
  }

  void connect(std::vector<int> numbers) {
    EtcdClientOptions options;
    for (const int number : numbers) options.endpoints.push_back(url(number, 7401));
    options.credentials = TestCertificates::load(client_files_);
    options.watch_silence = 1500ms;
    client_ = value_of(EtcdClient::create(*loop_, options));
    admin_ = std::make_unique<EtcdAdmin>(*loop_, *client_, *pool_);
  }

  template <typename T, typename Call>
  Result<T> ask(Call call) {
    Waiting<T> done(*loop_);
    call(done.answer());
    return done.get();
  }
  std::vector<EtcdMember> members() {
    return value_of(ask<std::vector<EtcdMember>>([&](auto answer) { admin_->members(in(kPatience), answer); }));
  }
  Result<EtcdMemberStatus> status(int number, Duration time = 2s) {
    return ask<EtcdMemberStatus>([&](auto answer) { admin_->member_status(url(number, 7401), in(time), answer); });
  }
  Result<TransactionResult> put(const std::string& key, const std::string& value, Duration time = kPatience) {
    return ask<TransactionResult>([&](auto answer) { client_->commit({{}, {Write{key, value}}}, in(time), answer); });
  }
  std::string get(const std::string& key) {
    const auto value = ask<std::optional<KeyValue>>([&](auto answer) { client_->read(key, in(kPatience), answer); });
    return value && *value ? (*value)->value : value ? "(absent)" : value.error().message();
  }

  // What the deciding node would see.
  std::vector<MemberView> views() {
    std::vector<MemberView> seen;
    std::uint64_t furthest = 0;
    std::map<std::uint64_t, std::uint64_t> index;
    for (const EtcdMember& one : members()) {
      MemberView view{one};
      if (!one.client_urls.empty()) {
        const auto state = ask<EtcdMemberStatus>([&](auto answer) { admin_->member_status(one.client_urls[0], in(1s), answer); });
        view.healthy = state && state->leader != 0;
        if (state) index[one.id] = state->raft_index;
        if (state) furthest = std::max(furthest, state->raft_index);
      }
      seen.push_back(view);
    }
    for (MemberView& view : seen) {
      const auto at = index.find(view.member.id);
      view.caught_up = at != index.end() && at->second + kCaughtUpEntries >= furthest;
    }
    return seen;
  }
  static std::vector<ManagerNode> managers(const std::vector<int>& numbers) {
    std::vector<ManagerNode> nodes;
    for (const int number : numbers) {
      nodes.push_back({NodeName::parse(name(number)).value(), url(number, 7402), url(number, 7401), true});
    }
    return nodes;
  }

  // Follows decide_members() until it is settled, as a node's daemon would.
  void settle_members(const std::vector<int>& numbers) {
    const Instant deadline = in(kPatience);
    while (BootClock::now() < deadline) {
      const MemberStep step = decide_members(managers(numbers), views());
      if (const auto* nothing = std::get_if<NoMemberStep>(&step); nothing != nullptr && nothing->settled) return;
      perform(step);
    }
    FAIL() << "the members do not settle: " << to_string(decide_members(managers(numbers), views()));
  }
  void perform(const MemberStep& step) {
    using Members = std::vector<EtcdMember>;
    if (const auto* add = std::get_if<AddLearner>(&step)) {
      const auto added = ask<AddedMember>([&](auto answer) { admin_->add_learner(add->peer_url, in(5s), answer); });
      if (!added) return;  // not healthy yet: it is decided again
      const int number = add->node.str().back() - '0';
      start(number, {EtcdStart::kJoin, initial_cluster(*added, add->node.str()), "cluster"});
    } else if (const auto* promote = std::get_if<PromoteMember>(&step)) {
      (void)ask<Members>([&](auto answer) { admin_->promote(promote->id, in(5s), answer); });
    } else if (const auto* removed = std::get_if<RemoveMember>(&step)) {
      (void)ask<Members>([&](auto answer) { admin_->remove(removed->id, in(5s), answer); });
    }
  }

  void three_members() {
    start(1, {EtcdStart::kNew, "", "cluster"});
    connect({1});
    ASSERT_TRUE(put("/a", "1"));
    settle_members({1, 2, 3});
    connect({1, 2, 3});
  }
  int leader() {
    const auto state = ask<StoreStatus>([&](auto answer) { client_->status(in(kPatience), answer); });
    for (const EtcdMember& one : members()) {
      if (state && one.id == state->leader) return one.name.back() - '0';
    }
    return 0;
  }

  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = value_of(io::Pool::create({"test", 1}));
  io::TemporaryDirectory directory_;
  std::unique_ptr<TestCertificates> certificates_;
  EtcdTlsFiles client_files_;
  std::string program_;
  std::map<int, Member> members_;
  std::unique_ptr<EtcdClient> client_;
  std::unique_ptr<EtcdAdmin> admin_;
};

TEST_F(EtcdCluster, OneMemberBecomesThreeAndSurvivesItsLeader) {
  three_members();
  const auto now = members();
  ASSERT_EQ(now.size(), 3U);
  for (const EtcdMember& one : now) EXPECT_FALSE(one.learner) << one.name;
  EXPECT_EQ(get("/a"), "1");

  std::vector<std::string> seen;
  std::size_t lost = 0;
  WatchHandlers handlers;
  handlers.on_changes = [&](Revision, const std::vector<Change>& changes) { seen.push_back(changes[0].value->value); };
  handlers.on_lost = [&](const Error&) { ++lost; };
  bool began = false;
  handlers.on_snapshot = [&](const Snapshot&) { began = true; };
  const auto watch = client_->watch("/w/", handlers);
  ASSERT_TRUE(loop_->run_until([&] { return began; }, kPatience));
  ASSERT_TRUE(put("/w/a", "before"));

  const int old = leader();
  ASSERT_NE(old, 0);
  const Instant killed = BootClock::now();
  members_[old].server.reset();  // ended and not started again
  // A commit is sent once: until there is a leader it may be unknown what has become of it.
  Result<TransactionResult> after = put("/w/a", "after", 2s);
  while (!after && BootClock::now() < killed + kPatience) after = put("/w/a", "after", 2s);
  ASSERT_TRUE(after) << after.error().message();
  RecordProperty("failover_ms", static_cast<int>(to_milliseconds(BootClock::now() - killed)));
  EXPECT_EQ(get("/w/a"), "after");
  EXPECT_NE(leader(), old);
  ASSERT_TRUE(loop_->run_until([&] { return !seen.empty() && seen.back() == "after"; }, kPatience));
  EXPECT_EQ(seen.front(), "before");
  EXPECT_LE(lost, 2U);

  // The one that was lost comes back with its data.
  start(old, {EtcdStart::kRestart, "", ""});
  ASSERT_TRUE(loop_->run_until([&] { return members_[old].server->running(); }, kPatience));
  settle_members({1, 2, 3});
  const auto returned = status(old, kPatience);
  ASSERT_TRUE(returned) << returned.error().message();
}

TEST_F(EtcdCluster, AMemberThatDiesIsStartedAgain) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  ASSERT_TRUE(put("/a", "1"));
  ::kill(members_[1].server->pid(), SIGKILL);
  ASSERT_TRUE(loop_->run_until([&] { return members_[1].server->deaths() == 1 && members_[1].server->running(); }, kPatience));
  EXPECT_EQ(get("/a"), "1");
}

TEST_F(EtcdCluster, ARepeatedCommitOutlivesTheLeaderThatHadIt) {
  three_members();
  const Revision at = value_of(put("/a", "before")).revision;
  const int first = leader();
  std::vector<int> others = {1, 2, 3};
  std::erase(others, first);
  connect({others[0], others[1], first});
  EXPECT_EQ(get("/a"), "before");
  // It takes what is passed on to it, and answers nobody any more.
  const pid_t stopped = members_[first].server->pid();
  ASSERT_EQ(::kill(stopped, SIGSTOP), 0);
  const Transaction swap{{{"/a", at}}, {Write{"/a", "after"}}, true};
  const auto answered = ask<TransactionResult>([&](auto answer) { client_->commit(swap, in(kPatience), answer); });
  ASSERT_TRUE(answered) << answered.error().message();
  EXPECT_TRUE(answered->applied || answered->found.at(0)->value == "after");
  EXPECT_EQ(get("/a"), "after");
  const Revision now = value_of(put("/b", "1")).revision;
  ::kill(stopped, SIGCONT);
  // Nothing of it comes later.
  const Instant deadline = in(kPatience);
  for (auto back = status(first); !back || back->leader == 0; back = status(first)) ASSERT_LT(BootClock::now(), deadline);
  EXPECT_EQ(get("/a"), "after");
  EXPECT_EQ(value_of(put("/b", "2")).revision, now + 1);
}

TEST_F(EtcdCluster, AMemberThatEndsBeforeItHasJoinedJoinsLaterAndFoundsNoCluster) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  ASSERT_TRUE(put("/a", "1"));
  // Nobody has added it yet.
  start(2, {EtcdStart::kJoin, name(1) + "=" + url(1, 7402) + "," + name(2) + "=" + url(2, 7402), "cluster"});
  EtcdServer& joining = *members_[2].server;
  ASSERT_TRUE(loop_->run_until([&] { return joining.deaths() >= 2; }, kPatience));
  EXPECT_FALSE(joining.has_data());
  const auto added = ask<AddedMember>([&](auto answer) { admin_->add_learner(url(2, 7402), in(kPatience), answer); });
  ASSERT_TRUE(added) << added.error().message();
  const auto joined = [&] {
    const auto all = members();
    return std::ranges::any_of(all, [](const EtcdMember& one) { return one.name == name(2); });
  };
  const Instant deadline = in(kPatience);
  while (!joined()) ASSERT_LT(BootClock::now(), deadline) << "it has not joined";
  EXPECT_TRUE(joining.has_data());
}

TEST_F(EtcdCluster, WithoutAQuorumNothingIsWrittenAndOneCanBeForcedToGoOn) {
  three_members();
  ASSERT_TRUE(put("/a", "kept"));
  // Member 1 has what was committed.
  const auto leading = status(leader());
  ASSERT_TRUE(leading);
  ASSERT_TRUE(loop_->run_until([] { return true; }, 0s));
  for (auto first = status(1); first && first->raft_index < leading->raft_index; first = status(1)) {
  }
  members_[2].server.reset();
  members_[3].server.reset();
  connect({1});
  const auto refused = put("/a", "lost", 1s);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().code(), testing::AnyOf(ErrorCode::kTransient, ErrorCode::kTimeout));
  // Its list of members is readable without a leader.
  EXPECT_EQ(members().size(), 3U);
  stop(1);
  start(1, {EtcdStart::kForceNewCluster, "", ""});
  EXPECT_EQ(get("/a"), "kept");
  EXPECT_EQ(members().size(), 1U);
  ASSERT_TRUE(put("/a", "again"));
  // A death after that starts it plainly: it is one member with data.
  ::kill(members_[1].server->pid(), SIGKILL);
  ASSERT_TRUE(loop_->run_until([&] { return members_[1].server->deaths() == 1 && members_[1].server->running(); }, kPatience));
  EXPECT_EQ(get("/a"), "again");
}

TEST_F(EtcdCluster, ASnapshotIsVerifiedAndRestoresAnotherCluster) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  ASSERT_TRUE(put("/a", "saved"));
  ASSERT_TRUE(put("/big", std::string(900'000, 'x')));
  const std::string path = directory_ / "saved.snapshot";
  const auto take = [&] { return ask<SnapshotFile>([&](auto answer) { admin_->snapshot(path, in(kPatience), answer); }); };
  const auto file = take();
  ASSERT_TRUE(file) << file.error().message();
  struct stat found{};
  ASSERT_EQ(::stat(path.c_str(), &found), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(found.st_size), file->bytes);
  EXPECT_EQ(found.st_mode & 0777U, 0600U);
  EXPECT_EQ(take().error().code(), ErrorCode::kExists);
  const auto before = value_of(ask<StoreStatus>([&](auto answer) { client_->status(in(kPatience), answer); }));
  ASSERT_TRUE(put("/a", "later"));

  std::vector<std::pair<Revision, std::uint64_t>> snapshots;
  WatchHandlers handlers;
  handlers.on_snapshot = [&](const Snapshot& snapshot) { snapshots.emplace_back(snapshot.revision, snapshot.cluster_id); };
  const auto watch = client_->watch("/", handlers);
  ASSERT_TRUE(loop_->run_until([&] { return snapshots.size() == 1; }, kPatience));

  EXPECT_EQ(restore_snapshot(options(1), path, "another", in(kPatience)).error().code(), ErrorCode::kConflict);
  stop(1);
  ASSERT_TRUE(succeeded(set_data_aside(options(1), std::chrono::system_clock::now())));
  ASSERT_TRUE(succeeded(restore_snapshot(options(1), path, "another", in(kPatience))));
  start(1, {EtcdStart::kRestart, "", ""});
  EXPECT_EQ(get("/a"), "saved");
  const auto after = value_of(ask<StoreStatus>([&](auto answer) { client_->status(in(kPatience), answer); }));
  EXPECT_NE(after.cluster_id, before.cluster_id);
  // The watch that was open is told everything anew.
  ASSERT_TRUE(loop_->run_until([&] { return snapshots.size() == 2; }, kPatience));
  EXPECT_LT(snapshots[1].first, snapshots[0].first);
  EXPECT_EQ(snapshots[1].second, after.cluster_id);

  // One byte in the middle.
  run(std::format("printf X | dd of={} bs=1 seek=50000 conv=notrunc 2>/dev/null", path));
  stop(1);
  ASSERT_TRUE(succeeded(set_data_aside(options(1), std::chrono::system_clock::now() + 1s)));
  const auto damaged = restore_snapshot(options(1), path, "third", in(kPatience));
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), ErrorCode::kCorrupt) << damaged.error().message();
  EXPECT_FALSE(members_[1].server->has_data());
}

TEST_F(EtcdCluster, AnEtcdThatOutlivedItsDaemonIsTakenOver) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  ASSERT_TRUE(put("/a", "1"));
  const pid_t pid = members_[1].server->pid();
  members_[1].server->release();
  members_[1].server.reset();
  start(1, {EtcdStart::kRestart, "", ""});
  EXPECT_TRUE(members_[1].server->taken_over());
  EXPECT_EQ(members_[1].server->pid(), pid);
  EXPECT_EQ(get("/a"), "1");
  // It is supervised again.
  ::kill(pid, SIGKILL);
  ASSERT_TRUE(loop_->run_until([&] { return members_[1].server->deaths() == 1 && members_[1].server->running(); }, kPatience));
  EXPECT_NE(members_[1].server->pid(), pid);
  EXPECT_EQ(get("/a"), "1");
  // With another command line it is stopped first.
  const pid_t second = members_[1].server->pid();
  members_[1].server->release();
  EtcdServerOptions changed = options(1);
  changed.quota_bytes *= 2;
  members_[1].server = std::make_unique<EtcdServer>(*loop_, changed);
  ASSERT_TRUE(succeeded(members_[1].server->start({EtcdStart::kRestart, "", ""})));
  ASSERT_TRUE(loop_->run_until([&] { return members_[1].server->running() && members_[1].server->pid() != second; }, kPatience));
  EXPECT_EQ(get("/a"), "1");
  EXPECT_EQ(members_[1].server->deaths(), 0U);
}

TEST_F(EtcdCluster, StartsThatCannotBeRightAreRefused) {
  Member& one = member(1);
  one.server = std::make_unique<EtcdServer>(*loop_, options(1));
  EXPECT_EQ(one.server->start({EtcdStart::kRestart, "", ""}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(one.server->start({EtcdStart::kForceNewCluster, "", ""}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(one.server->start({EtcdStart::kNew, "", ""}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(one.server->start({EtcdStart::kJoin, "", "t"}).error().code(), ErrorCode::kInvalid);
  ASSERT_TRUE(succeeded(one.server->start({EtcdStart::kNew, "", "t"})));
  EXPECT_EQ(one.server->start({EtcdStart::kNew, "", "t"}).error().code(), ErrorCode::kExists);
  connect({1});
  ASSERT_TRUE(put("/a", "1"));
  stop(1);
  EXPECT_EQ(one.server->start({EtcdStart::kNew, "", "t"}).error().code(), ErrorCode::kConflict);
  EtcdServerOptions missing = options(1);
  missing.program = "/nowhere/etcd";
  EtcdServer other(*loop_, missing);
  EXPECT_EQ(other.start({EtcdStart::kRestart, "", ""}).error().code(), ErrorCode::kNotFound);
}

TEST_F(EtcdCluster, OnlyTheAuthoritysCertificatesAndTls13AreTaken) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  ASSERT_TRUE(put("/a", "1"));
  // TLS 1.2, with a good certificate, at both doors.
  for (const int port : {7401, 7402}) {
    const auto old = io::run_command({"/bin/sh", "-c", std::format("openssl s_client -connect 10.77.0.1:{} -tls1_2 -CAfile {} -cert {} -key {} </dev/null 2>&1", port,
                                                                   client_files_.authority, client_files_.certificate, client_files_.key)});
    EXPECT_THAT(value_of(old).standard_output, HasSubstr("handshake failure")) << port;
    const auto now = io::run_command({"/bin/sh", "-c", std::format("openssl s_client -connect 10.77.0.1:{} -tls1_3 -CAfile {} -cert {} -key {} </dev/null 2>&1", port,
                                                                   client_files_.authority, client_files_.certificate, client_files_.key)});
    EXPECT_THAT(value_of(now).standard_output, HasSubstr("TLSv1.3")) << port;
  }
  // A certificate of another authority: they refuse us; and we refuse them.
  const TestCertificates foreign(directory_ / "foreign");
  const EtcdTlsFiles theirs = foreign.make("client", "IP:10.77.0.254");
  EtcdCredentials mixed = TestCertificates::load(theirs);
  mixed.authority = text_of(client_files_.authority);
  for (const EtcdCredentials& credentials : {mixed, TestCertificates::load(theirs)}) {
    EtcdClientOptions foreign_options;
    foreign_options.endpoints = {url(1, 7401)};
    foreign_options.credentials = credentials;
    const auto stranger = value_of(EtcdClient::create(*loop_, foreign_options));
    const auto value = ask<std::optional<KeyValue>>([&](auto answer) { stranger->read("/a", in(1s), answer); });
    ASSERT_FALSE(value);
    EXPECT_THAT(value.error().code(), testing::AnyOf(ErrorCode::kPermission, ErrorCode::kTransient)) << value.error().message();
    RecordProperty("refusal", value.error().message());
  }
  // A server that knows TLS 1.2 only, with a good certificate; the same with 1.3 is spoken to.
  const EtcdTlsFiles older = certificates_->make("older", "IP:10.77.0.254");
  for (const char* version : {"-tls1_2", "-tls1_3"}) {
    auto server = value_of(io::ChildProcess::spawn({"setpriv", "--pdeathsig", "KILL", "--", "openssl", "s_server", version, "-accept", "10.77.0.254:7443", "-alpn", "h2",
                                                    "-cert", older.certificate, "-key", older.key},
                                                   {.standard_input = io::Stdio::kPipe, .standard_output = io::Stdio::kPipe}));
    std::string said(6, '\0');
    ASSERT_EQ(::read(server.standard_output.get(), said.data(), said.size()), 6);  // "Using " or "ACCEPT": it listens
    EtcdClientOptions older_options;
    older_options.endpoints = {"https://10.77.0.254:7443"};
    older_options.credentials = TestCertificates::load(client_files_);
    const auto client = value_of(EtcdClient::create(*loop_, older_options));
    const auto value = ask<std::optional<KeyValue>>([&](auto answer) { client->read("/a", in(1s), answer); });
    ASSERT_FALSE(value);
    const bool refused = value.error().message().find("handshake") != std::string::npos;
    EXPECT_EQ(refused, std::string_view(version) == "-tls1_2") << version << ": " << value.error().message();
  }
  // What cannot be an endpoint.
  EXPECT_EQ(EtcdClient::create(*loop_, {.endpoints = {url(1, 7401)}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(EtcdClient::create(*loop_, {.endpoints = {"ftp://x:1"}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(EtcdClient::create(*loop_, {.endpoints = {}}).error().code(), ErrorCode::kInvalid);
}

TEST_F(EtcdCluster, RenewedCertificatesAreTakenWithoutAWord) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  std::vector<std::string> seen;
  std::size_t lost = 0;
  WatchHandlers handlers;
  handlers.on_snapshot = [&](const Snapshot&) { seen.push_back("snapshot"); };
  handlers.on_changes = [&](Revision, const std::vector<Change>& changes) { seen.push_back(changes[0].value->value); };
  handlers.on_lost = [&](const Error&) { ++lost; };
  const auto watch = client_->watch("/", handlers);
  ASSERT_TRUE(loop_->run_until([&] { return seen.size() == 1; }, kPatience));
  const EtcdTlsFiles renewed = certificates_->make("client-renewed", "IP:10.77.0.254");
  ASSERT_TRUE(succeeded(client_->use_credentials(TestCertificates::load(renewed))));
  EXPECT_EQ(client_->use_credentials({"x", "y", "z"}).error().code(), ErrorCode::kInvalid);
  ASSERT_TRUE(put("/a", "new"));
  ASSERT_TRUE(loop_->run_until([&] { return seen.size() == 2; }, kPatience));
  EXPECT_THAT(seen, testing::ElementsAre("snapshot", "new"));
  EXPECT_EQ(lost, 0U);
}

TEST_F(EtcdCluster, RecordsWorkOverTheRealThing) {
  start(1, {EtcdStart::kNew, "", "cluster"});
  connect({1});
  const model::NodeLife self{NodeName::parse("a").value(), Incarnation{1}};
  ASSERT_TRUE(put(node_key(self.node), encode_node({.life = self})));
  RecordStore records(*loop_, *client_, self);
  const ContainerName web = ContainerName::parse("web").value();
  const model::OwnershipRecord record{web, self, {}, {}, "s", "i", model::DesiredState::kRunning, model::RecordPhase::kStarting, self, {}, {}};
  const auto made = ask<StoredRecord>([&](auto answer) { records.create({record, "name: web\n", {}}, in(kPatience), answer); });
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->record.term.value + 0, static_cast<std::uint64_t>(made->revision));
  // Killed with the swap on its way: whatever has become of it, afterwards it is known.
  auto next = made->record;
  next.phase = model::RecordPhase::kRunning;
  std::optional<SwapOutcome> outcome;
  records.swap({next, made->revision}, in(1s), [&](SwapOutcome result) { outcome = std::move(result); });
  ::kill(members_[1].server->pid(), SIGKILL);
  ASSERT_TRUE(loop_->run_until([&] { return outcome.has_value(); }, kPatience));
  if (outcome->kind == SwapOutcome::Kind::kUnknown) {
    const SentSwap sent = *outcome->sent;
    outcome.reset();
    records.resolve(sent, in(kPatience), [&](SwapOutcome result) { outcome = std::move(result); });
    ASSERT_TRUE(loop_->run_until([&] { return outcome.has_value(); }, kPatience));
  }
  ASSERT_NE(outcome->kind, SwapOutcome::Kind::kUnknown);
  const auto now = ask<std::optional<StoredRecord>>([&](auto answer) { records.read(web, in(kPatience), answer); });
  ASSERT_TRUE(now && *now);
  EXPECT_EQ((*now)->revision, outcome->now->revision);
  EXPECT_EQ((*now)->record.phase, outcome->kind == SwapOutcome::Kind::kApplied ? model::RecordPhase::kRunning : model::RecordPhase::kStarting);
}

}  // namespace
}  // namespace perdure::coord
