// run and start: what brings a container to life, and waits until it is protected or known not to be.
#include <algorithm>
#include <format>
#include <optional>

#include "control_limits.h"
#include "image/image.h"
#include "model/spec_yaml.h"
#include "node/bridge_name.h"
#include "node/control_request.h"
#include "node/nic_change.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using policy::Phase;

// An image of some GB is unpacked in minutes. What was asked for goes on afterwards.
constexpr Duration kLimit = std::chrono::minutes(30);
constexpr std::uint32_t kReachableQuestion = 1;

class StartingRequest : public ContainerRequest {
 public:
  using ContainerRequest::ContainerRequest;

  void answered(std::uint32_t question, bool yes) override {
    if (question == kReachableQuestion && nic_) nic_->answered(yes);
  }

 protected:
  virtual void fill(v1::Response& response, v1::ContainerStatus status) = 0;

  // Calls `ready` when the bridge of the container is there, perhaps at once.
  void with_network(const model::ContainerSpec& spec, bool confirmed, std::function<void()> ready) {
    const auto* nic = std::get_if<model::NicAttachment>(&spec.network.attachment);
    if (nic == nullptr) return ready();
    network::EnslaveRequest request;
    request.nic = nic->nic;
    request.vlan = nic->vlan;
    request.bridge = bridge_name_of(*nic);
    request.state_file = ContainerPaths(node().host().paths, spec.name).enslavement();
    request.deadline = kNicAnswerTime;
    NicChange::Handlers handlers;
    handlers.ask = [this](const std::string& text, Duration deadline) {
      v1::Response response;
      response.mutable_question()->set_question(kReachableQuestion);
      response.mutable_question()->set_text(text);
      response.mutable_question()->set_deadline_ns(deadline.count());
      send(std::move(response));
    };
    handlers.consent_needed = [this](const std::string& text) {
      v1::Error error;
      error.set_code(v1::ERROR_CONFIRMATION_REQUIRED);
      error.set_message(text);
      fail(std::move(error));
    };
    handlers.done = [this, ready = std::move(ready)](Status done) {
      if (!done) return fail(done.error());
      ready();
    };
    nic_.emplace(node().loop(), node().pool(), std::move(request), std::move(handlers));
    nic_->begin(confirmed ? NicConsent::kYes : NicConsent::kNo);
  }

  void look(ContainerService& service) override {
    switch (service.status().phase) {
      case Phase::kProtected:
      case Phase::kUnprotected:
      case Phase::kStopped: {  // its command has ended already, or somebody stopped it
        v1::ContainerStatus status = status_of(service, node().clock());
        if (settles_still(status)) return;
        v1::Response response;
        fill(response, std::move(status));
        return finish(std::move(response));
      }
      case Phase::kFailed: return fail(given_up(service, "was not started"));
      default: return;
    }
  }

  // Whether its answer has to wait for more than that it runs.
  virtual bool settles_still(const v1::ContainerStatus&) { return false; }

 private:
  std::optional<NicChange> nic_;
};

bool is_ready(const v1::ComponentStatus& component) {
  return component.state() == v1::COMPONENT_RUNNING || component.state() == v1::COMPONENT_FINISHED;
}

// Why it has not settled; empty: it has.
std::string unsettled(const v1::ContainerStatus& status, std::uint32_t standbys) {
  for (const v1::ComponentStatus& component : status.components()) {
    if (!is_ready(component)) return std::format("waiting until component '{}' is ready", component.name());
  }
  const auto ready = std::ranges::count(status.standbys(), v1::STANDBY_READY, &v1::StandbyStatus::state);
  if (ready < standbys) return std::format("waiting for {} of {} standbys", standbys - static_cast<std::uint32_t>(ready), standbys);
  return {};
}

// The reader's message has one line per mistake.
v1::Error spec_error(const Error& error) {
  v1::Error message;
  message.set_code(to_proto(error.code()));
  std::string_view rest = error.message();
  for (std::size_t end = 0; end != std::string_view::npos; rest.remove_prefix(std::min(rest.size(), end + 1))) {
    end = rest.find('\n');
    const std::string line(rest.substr(0, end));
    if (message.message().empty()) {
      message.set_message(line);
    } else if (!line.empty() && static_cast<std::size_t>(message.detail_size()) < control::kMaxDetailLines) {
      message.add_detail(line);
    }
    if (end == std::string_view::npos) break;
  }
  message.set_remedy("perdure-spec(5) describes the keys");
  return message;
}

// How often the client is told that an image is on its way; it waits ten seconds for a sign of life.
constexpr Duration kFetchTick = std::chrono::seconds(2);

// What changes beside the container itself, its standbys for instance, is looked at this often.
constexpr Duration kSettleTick = std::chrono::milliseconds(100);

class RunRequest final : public StartingRequest {
 public:
  using StartingRequest::StartingRequest;

  void begin() override {
    const v1::RunRequest& run = message().run();
    auto spec = model::read_spec(run.spec_yaml(), run.file_name(), run.base_directory());
    if (!spec) return fail(spec_error(spec.error()));
    if (Status possible = node().check_new(*spec); !possible) return fail(possible.error());
    with_image(*spec, [this, spec = *spec] {
      with_network(spec, message().run().confirm_nic(), [this, spec] { create(spec); });
    });
  }

 protected:
  void fill(v1::Response& response, v1::ContainerStatus status) override {
    *response.mutable_run()->mutable_status() = std::move(status);
  }

 private:
  // An image that is named by its digest has to be here, or come from a node that has it, before anything is made.
  void with_image(const model::ContainerSpec& spec, std::function<void()> ready) {
    const auto* image = std::get_if<model::ImageRoot>(&spec.root_filesystem);
    if (image == nullptr) return ready();
    auto looked = [this, token = lifetime_.token(), ready = std::move(ready)](const Status& here) {
      if (!token.alive()) return;
      waiting_ = {};
      if (!here) {
        return fail(here.error(), "'perdure image add' on a node of the cluster makes an image known to all of them");
      }
      ready();
    };
    tell_fetching(image->digest);
    ContainerCluster* cluster = node().cluster();
    if (cluster != nullptr && cluster->member()) return cluster->fetch_image(image->digest, std::move(looked));
    const Status submitted = node().pool().submit(
        node().loop(), lifetime_,
        [images_dir = node().host().paths.images(), digest = image->digest]() -> Status {
          return image::find_prepared(images_dir, digest).transform([](auto&&) {});
        },
        std::move(looked));
    if (!submitted) fail(submitted.error(), "try again in a moment");
  }

  void tell_fetching(const std::string& digest) {
    waiting_ = node().loop().after(kFetchTick, [this, digest] {
      v1::Response response;
      response.mutable_progress()->set_stage("fetch");
      response.mutable_progress()->set_text("fetching image " + digest);
      if (send(std::move(response))) tell_fetching(digest);
    });
  }

  void create(const model::ContainerSpec& spec) {
    ContainerCluster* cluster = node().cluster();
    if (cluster == nullptr || !cluster->member()) return created(node().create(spec));
    cluster->claim(spec, model::DesiredState::kRunning, [this, token = lifetime_.token(), cluster, spec,
                                                         &node = node()](const Status& claimed) {
      if (!claimed) {
        if (token.alive()) fail(claimed.error());
        return;
      }
      // What the operator asked for goes on without him.
      auto made = node.create(spec);
      if (!made) cluster->disclaim(spec.name);
      if (token.alive()) created(std::move(made));
    });
  }

  void created(Result<ContainerService*> service) {
    if (!service) return fail(service.error());
    wait_for(**service, kLimit);
  }

  bool settles_still(const v1::ContainerStatus& status) override {
    const v1::RunRequest& run = message().run();
    if (!run.has_settle_ns() || status.phase() != v1::PHASE_RUNNING) return false;
    const Instant now = node().clock().now();
    if (!settle_until_) settle_until_ = now + std::clamp<Duration>(Duration(run.settle_ns()), Duration::zero(), kLimit);
    const std::string why = unsettled(status, run.settled_standbys());
    if (why.empty() || now >= *settle_until_) return false;
    if (why != told_unsettled_) {
      told_unsettled_ = why;
      v1::Response response;
      response.mutable_progress()->set_stage("settle");
      response.mutable_progress()->set_text(why);
      if (!send(std::move(response))) return true;
    }
    waiting_ = node().loop().after(kSettleTick, [this] { look_soon(); });
    return true;
  }

  io::Timer waiting_;  // for its image, later until it has settled
  std::optional<Instant> settle_until_;
  std::string told_unsettled_;
};

class StartRequest final : public StartingRequest {
 public:
  using StartingRequest::StartingRequest;

  void begin() override {
    ContainerService* service = find_or_fail(message().start().name());
    if (service == nullptr) return;
    with_network(service->spec(), message().start().confirm_nic(), [this] { start(); });
  }

 protected:
  void fill(v1::Response& response, v1::ContainerStatus status) override {
    *response.mutable_start()->mutable_status() = std::move(status);
  }

 private:
  void start() {
    ContainerService* service = find_or_fail(message().start().name());
    if (service == nullptr) return;
    if (Status admitted = service->admit(policy::OperatorStart{}); !admitted) return fail(admitted.error());
    settle(*service, model::DesiredState::kRunning, [this](ContainerService& settled) {
      if (Status asked = settled.ask(policy::OperatorStart{}); !asked) return fail(asked.error());
      wait_for(settled, kLimit);
    });
  }
};

}  // namespace

std::unique_ptr<ControlRequest> make_start_request(RequestSetup setup) {
  if (setup.message.has_run()) return std::make_unique<RunRequest>(std::move(setup));
  if (setup.message.has_start()) return std::make_unique<StartRequest>(std::move(setup));
  return nullptr;
}

}  // namespace perdure::node
