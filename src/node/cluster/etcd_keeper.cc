#include "node/cluster/etcd_keeper.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <format>
#include <memory>
#include <utility>
#include <variant>

#include "base/fd.h"
#include "base/log.h"
#include "io/atomic_file.h"

namespace perdure::node {
namespace {

constexpr std::uint32_t kDeathsToAsk = 3;
constexpr int kRefusalsToTell = 5;
// What has been done makes the next step possible.
constexpr Duration kAfterStep = std::chrono::milliseconds(300);
constexpr std::size_t kIdFileBytes = 64;
constexpr Duration kRestoreTime = std::chrono::minutes(2);

}  // namespace

EtcdKeeper::EtcdKeeper(EtcdKeeperOptions options, coord::EtcdClient& client, EtcdKeeperHandlers handlers)
    : options_(std::move(options)),
      handlers_(std::move(handlers)),
      server_(options_.loop, watched(options_.server)),
      admin_(options_.loop, client, options_.pool),
      snapshots_(options_.loop, options_.pool, options_.clock, {.directory = options_.snapshot_directory},
                 [this](std::string path, Instant deadline, coord::Answer<coord::SnapshotFile> answer) {
                   admin_.snapshot(std::move(path), deadline, std::move(answer));
                 }) {}

EtcdKeeper::~EtcdKeeper() = default;

Status EtcdKeeper::start(const coord::EtcdStartRequest& request) { return server_.start(request); }

coord::EtcdServerOptions EtcdKeeper::watched(coord::EtcdServerOptions server) {
  server.on_death = [this, told = std::move(server.on_death)](const std::string& how, Duration pause) {
    if (told) told(how, pause);
    died();
  };
  return server;
}

// A member that was removed ends at each start. Only the others know; while they do not answer it is tried on.
void EtcdKeeper::died() {
  if (server_.deaths() < kDeathsToAsk || asking_ || joining_) return;
  asking_ = true;
  admin_.members(deadline(), [this](const Result<std::vector<coord::EtcdMember>>& members) {
    asking_ = false;
    if (!members || joining_) return;
    const bool is_one = std::ranges::any_of(*members, [&](const coord::EtcdMember& member) {
      return member.name == options_.server.name || std::ranges::contains(member.peer_urls, options_.server.peer_url);
    });
    if (is_one) return;
    removed_ = true;
    server_.stop([] {});
    handlers_.report("etcd: this node's member was removed and is stopped",
                     std::format("its data stays in '{}' until it is added anew", options_.server.data_directory));
    handlers_.own_changed();
  });
}

void EtcdKeeper::join(const MemberToStart& added, const std::string& token, std::function<void(Status)> done) {
  if (joining_) return done(fail(ErrorCode::kTransient, "its member is being started"));
  joining_ = true;
  const auto ended = [this, done = std::move(done)](Status status) {
    joining_ = false;
    done(std::move(status));
  };
  if (!server_.running()) return begin_anew(added, token, ended);
  // A word that comes late must not end a member that serves.
  admin_.member_status(options_.server.client_url, deadline(),
                       [this, added, token, ended](const Result<coord::EtcdMemberStatus>& own) {
                         if (own && own->leader != 0) return ended({});
                         begin_anew(added, token, ended);
                       });
}

void EtcdKeeper::begin_anew(const MemberToStart& added, const std::string& token, std::function<void(Status)> done) {
  const std::string id = std::format("{:x}", added.id);
  const auto known = read_file(id_file(), kIdFileBytes);
  coord::EtcdStartRequest start{.how = coord::EtcdStart::kJoin, .initial_cluster = added.initial_cluster, .token = token};
  const auto begin = [this, done](const coord::EtcdStartRequest& request) {
    Status started = server_.start(request);
    if (!started && started.error().code() == ErrorCode::kExists) started = {};  // it has died and is about to be started again
    if (!started) return done(std::move(started));
    removed_ = false;
    done({});
    handlers_.own_changed();
  };
  if (known && *known == id) {
    if (server_.running()) return done({});
    if (server_.has_data()) start.how = coord::EtcdStart::kRestart;
    return begin(start);
  }
  server_.stop([this, alive = lifetime_.token(), id, start = std::move(start), begin, done] {
    if (!alive.alive()) return;
    const auto set_aside = [this, id, start, begin, done](Status aside) {
      if (aside) aside = io::write_file_atomically(id_file(), id, 0600);
      if (!aside) return done(std::move(aside));
      begin(start);
    };
    auto work = [server = options_.server, now = options_.clock.wall()] { return coord::set_data_aside(server, now); };
    if (Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(work), set_aside); !submitted) {
      set_aside(std::move(submitted));
    }
  });
}

void EtcdKeeper::go_on_alone(std::function<void(Result<std::string>)> done) {
  const std::string copy = std::format("{}.before-{:%Y%m%dT%H%M%SZ}", options_.server.data_directory,
                                       std::chrono::floor<std::chrono::seconds>(options_.clock.wall()));
  server_.stop([this, token = lifetime_.token(), copy, done = std::move(done)] {
    if (!token.alive()) return;
    auto work = [from = options_.server.data_directory, copy]() -> Status {
      std::error_code error;
      std::filesystem::copy(from, copy, std::filesystem::copy_options::recursive, error);
      if (error) return fail(ErrorCode::kIo, std::format("copy '{}' to '{}': {}", from, copy, error.message()));
      return {};
    };
    auto copied = [this, copy, done](Status made) {
      const auto how = made ? coord::EtcdStart::kForceNewCluster : coord::EtcdStart::kRestart;
      Status started = server_.start({.how = how, .initial_cluster = {}, .token = {}});
      if (!made || !started) return done(fail(made ? started.error() : made.error()));
      done(copy);
    };
    if (Status submitted = options_.pool.submit(options_.loop, lifetime_, work, copied); !submitted) copied(std::move(submitted));
  });
}

void EtcdKeeper::begin_from_snapshot(const std::string& file, std::function<void(Status)> done) {
  // Beside the data, which stays until the snapshot is known to be whole.
  coord::EtcdServerOptions beside = options_.server;
  beside.data_directory += ".restoring";
  auto restore = [beside, file, deadline = options_.clock.now() + kRestoreTime]() -> Status {
    PERDURE_TRY(io::remove_tree(beside.data_directory));
    std::array<std::uint64_t, 2> token{};
    if (::getrandom(token.data(), sizeof(token), 0) != static_cast<ssize_t>(sizeof(token))) return fail_errno("make a token");
    return coord::restore_snapshot(beside, file, std::format("{:016x}{:016x}", token[0], token[1]), deadline);
  };
  auto replace = [this, from = beside.data_directory, done](Status restored) {
    if (!restored) return done(std::move(restored));
    server_.stop([this, alive = lifetime_.token(), from, done] {
      if (!alive.alive()) return;
      auto work = [server = options_.server, from, id = id_file(), now = options_.clock.wall()]() -> Status {
        PERDURE_TRY(coord::set_data_aside(server, now));
        (void)::unlink(id.c_str());
        if (::rename(from.c_str(), server.data_directory.c_str()) != 0) return fail_errno(std::format("rename '{}'", from));
        return io::sync_directory(std::filesystem::path(from).parent_path());
      };
      auto start = [this, done](Status replaced) {
        if (replaced) replaced = server_.start({.how = coord::EtcdStart::kRestart, .initial_cluster = {}, .token = {}});
        removed_ = false;
        done(std::move(replaced));
      };
      if (Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(work), start); !submitted) {
        start(std::move(submitted));
      }
    });
  };
  if (Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(restore), replace); !submitted) {
    replace(std::move(submitted));
  }
}

void EtcdKeeper::watch_members() {
  snapshots_.start([this](const Result<coord::SnapshotFile>& taken) {
    if (taken) newest_snapshot_ = options_.clock.wall();
  });
  look();
}

void EtcdKeeper::look_again(Duration after) {
  busy_ = false;
  look_timer_ = options_.loop.after(after, [this] { look(); });
}

void EtcdKeeper::look() {
  if (busy_) return;
  busy_ = true;
  // Only who leads looks further: one decides, and it is the one that knows how far the others have come.
  admin_.member_status(options_.server.client_url, deadline(), [this](Result<coord::EtcdMemberStatus> own) {
    if (!own || own->leader == 0) return look_again();
    const bool leads = own->leader == own->member;
    admin_.members(deadline(), [this, leads](Result<std::vector<coord::EtcdMember>> members) {
      if (!members) return look_again();
      members_ = *members;
      if (!leads) return look_again();
      judge(*std::move(members));
    });
  });
}

void EtcdKeeper::judge(std::vector<coord::EtcdMember> members) {
  struct Round {
    std::vector<coord::MemberView> views;
    std::vector<std::uint64_t> applied;
    std::uint64_t leader_index = 0;
    std::size_t open = 0;
  };
  auto round = std::make_shared<Round>();
  round->open = members.size();
  for (coord::EtcdMember& member : members) round->views.push_back({std::move(member), false, false});
  round->applied.resize(round->views.size());
  const auto one_done = [this, round] {
    if (--round->open > 0) return;
    for (std::size_t i = 0; i < round->views.size(); ++i) {
      round->views[i].caught_up =
          round->applied[i] > 0 && round->applied[i] + coord::kCaughtUpEntries >= round->leader_index;
    }
    decide(std::move(round->views));
  };
  for (std::size_t i = 0; i < round->views.size(); ++i) {
    const auto& urls = round->views[i].member.client_urls;
    if (urls.empty()) {
      options_.loop.post([token = lifetime_.token(), one_done] {
        if (token.alive()) one_done();
      });
      continue;
    }
    admin_.member_status(urls.front(), deadline(), [round, i, one_done](Result<coord::EtcdMemberStatus> status) {
      if (status) {
        round->views[i].healthy = status->leader != 0;
        round->applied[i] = status->raft_index;
        round->leader_index = std::max(round->leader_index, status->raft_index);
      }
      one_done();
    });
  }
}

void EtcdKeeper::decide(std::vector<coord::MemberView> views) {
  const std::vector<coord::ManagerNode> managers = handlers_.managers();
  // One that was added and has not started yet: it may have been told in vain.
  for (const coord::MemberView& view : views) {
    if (!view.member.name.empty()) continue;
    for (const coord::ManagerNode& manager : managers) {
      if (std::ranges::find(view.member.peer_urls, manager.peer_url) == view.member.peer_urls.end()) continue;
      const MemberToStart added{view.member.id, coord::initial_cluster({view.member, members_}, manager.node.str())};
      handlers_.start_member(manager.node, added, [this](Status) { look_again(); });
      return;
    }
  }
  take(coord::decide_members(managers, views));
}

void EtcdKeeper::take(const coord::MemberStep& step) {
  const std::string what = coord::to_string(step);
  const auto answer = [this, what](const Result<std::vector<coord::EtcdMember>>& members) {
    if (members) members_ = *members;
    finished(what, members ? Status{} : Status(fail(members.error())));
  };
  if (const auto* add = std::get_if<coord::AddLearner>(&step)) {
    admin_.add_learner(add->peer_url, deadline(), [this, node = add->node, what](Result<coord::AddedMember> added) {
      if (!added) return finished(what, fail(added.error()));
      members_ = added->members;
      handlers_.start_member(node, {added->member.id, coord::initial_cluster(*added, node.str())},
                             [this, what](Status started) { finished(what, started); });
    });
  } else if (const auto* promote = std::get_if<coord::PromoteMember>(&step)) {
    admin_.promote(promote->id, deadline(), answer);
  } else if (const auto* remove = std::get_if<coord::RemoveMember>(&step)) {
    admin_.remove(remove->id, deadline(), answer);
  } else if (const auto* update = std::get_if<coord::UpdatePeerUrl>(&step)) {
    admin_.update_peer_urls(update->id, {update->url}, deadline(), answer);
  } else {
    look_again();
  }
}

void EtcdKeeper::finished(const std::string& what, const Status& status) {
  refusals_ = status || what != refused_ ? 0 : refusals_;
  refused_ = status ? std::string() : what;
  // etcd wants its members to have been connected for five seconds before it takes another one.
  if (!status && ++refusals_ < kRefusalsToTell) return look_again();
  const std::string said = what + (status ? "" : ": " + status.error().message());
  if (said != told_) {
    told_ = said;
    handlers_.report(status ? "etcd: " + what : "etcd: not done yet: " + what, status ? "" : status.error().message());
  }
  look_again(status ? kAfterStep : options_.look_interval);
}

void EtcdKeeper::check_removal(const NodeName& node, std::function<void(Status)> done) {
  admin_.members(deadline(), [node, done = std::move(done)](const Result<std::vector<coord::EtcdMember>>& members) {
    if (!members) return done(fail(members.error()));
    if (members->size() > 1 || members->front().name != node.str()) return done({});
    done(fail(ErrorCode::kConflict, std::format("node '{}' holds the only member of etcd", node.str())));
  });
}

void EtcdKeeper::remove_member(const NodeName& node, std::function<void(Status)> done) {
  admin_.members(deadline(), [this, node, done = std::move(done)](Result<std::vector<coord::EtcdMember>> members) {
    if (!members) return done(fail(members.error()));
    const auto found = std::ranges::find(*members, node.str(), &coord::EtcdMember::name);
    if (found == members->end()) return done({});
    if (members->size() == 1) {
      return done(fail(ErrorCode::kConflict, std::format("node '{}' holds the only member of etcd", node.str())));
    }
    admin_.remove(found->id, deadline(), [done](const Result<std::vector<coord::EtcdMember>>& removed) {
      done(removed ? Status{} : Status(fail(removed.error())));
    });
  });
}

}  // namespace perdure::node
