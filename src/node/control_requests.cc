// Requests that change nothing: version, list, inspect, explain, generations, events.
#include <algorithm>
#include <format>

#include "control_limits.h"
#include "model/spec_yaml.h"
#include "node/control_request.h"
#include "node/explanation.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

class VersionRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    v1::Response response;
    *response.mutable_version() = daemon_version(node());
    finish(std::move(response));
  }
};

class ListRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    v1::Response response;
    response.mutable_list();
    for (const ContainerService* service : node().containers()) {
      *response.mutable_list()->add_containers() = status_of(*service, node().clock());
    }
    finish(std::move(response));
  }
};

class InspectRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    const std::string& name = message().inspect().name();
    v1::Response response;
    v1::InspectReply& inspect = *response.mutable_inspect();
    if (auto row = record_alone(name)) {
      *inspect.mutable_status() = *std::move(row);
    } else if (const ContainerService* service = find_or_fail(name)) {
      *inspect.mutable_status() = status_of(*service, node().clock());
      inspect.set_spec_yaml(model::to_yaml(service->spec()));
    } else {
      return;
    }
    add_events(inspect, name);
    finish(std::move(response));
  }

 private:
  // Of a container that this node is about to run, or should: there is no service of it yet.
  std::optional<v1::ContainerStatus> record_alone(const std::string& name) {
    const auto parsed = ContainerName::parse(name);
    const ContainerCluster* cluster = node().cluster();
    return parsed && cluster != nullptr ? cluster->row_of(*parsed) : std::nullopt;
  }
  void add_events(v1::InspectReply& inspect, const std::string& name) {
    std::vector<const v1::Event*> events;
    for (const v1::Event& event : node().events().recent()) {
      if (event.container() == name) events.push_back(&event);
    }
    const std::size_t first = events.size() - std::min(events.size(), control::kMaxRecentEvents);
    for (std::size_t i = first; i < events.size(); ++i) *inspect.add_recent_events() = *events[i];
  }
};

// Of a container that is gone, too: its events are here.
class ExplainRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    const std::string& name = message().explain().name();
    std::vector<const v1::Event*> events;
    for (const v1::Event& event : node().events().recent()) {
      if (event.container() == name) events.push_back(&event);
    }
    const auto parsed = ContainerName::parse(name);
    const ContainerService* service = parsed ? node().find(*parsed) : nullptr;
    if (service == nullptr && events.empty()) return void(find_or_fail(name));
    v1::Response response;
    v1::ExplainReply& reply = *response.mutable_explain();
    reply.set_name(name);
    Duration probation = policy::ContainerOptions{}.probation;
    if (service != nullptr) {
      probation = policy::options_from(service->spec()).probation;
      *reply.mutable_status() = status_of(*service, node().clock());
      if (const auto then = service->if_it_died()) reply.set_if_it_died(policy::to_string(*then));
    }
    reply.set_node(reply.status().node());
    if (auto recovery = last_recovery(events, probation)) *reply.mutable_recovery() = *std::move(recovery);
    finish(std::move(response));
  }
};

class GenerationsRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    const ContainerService* service = find_or_fail(message().generations().name());
    if (service == nullptr) return;
    v1::Response response;
    response.mutable_generations()->set_name(service->spec().name.str());
    for (v1::GenerationRow& row : generation_rows(*service, node().clock())) {
      *response.mutable_generations()->add_generations() = std::move(row);
    }
    finish(std::move(response));
  }
};

class EventsRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  ~EventsRequest() override {
    if (subscription_ != 0) node().events().unsubscribe(subscription_);
  }

  void begin() override {
    // Of a container that is gone as well: its events say what became of it.
    for (const v1::Event& event : node().events().recent()) {
      if (!tell(event)) return;
    }
    if (message().events().follow()) {
      subscription_ = node().events().subscribe([this](const v1::Event& event) { tell(event); });
      return;
    }
    v1::Response response;
    response.mutable_done();
    finish(std::move(response));
  }

 private:
  bool tell(const v1::Event& event) {
    const v1::EventsRequest& wanted = message().events();
    if (wanted.has_since_sequence() && event.sequence() <= wanted.since_sequence()) return true;
    if (wanted.has_since_unix_ms() && event.time_unix_ms() < wanted.since_unix_ms()) return true;
    if (!wanted.name().empty() && event.container() != wanted.name()) return true;
    v1::Response response;
    *response.mutable_event() = event;
    return send(std::move(response));
  }

  std::uint64_t subscription_ = 0;
};

class UnknownRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;
  void begin() override {
    fail(Error(ErrorCode::kUnsupported,
               std::format("perdured {} does not know this kind of request; compare the versions of both programs",
                           PERDURE_VERSION)));
  }
};

}  // namespace

bool needs_containers(const v1::Request& message) {
  switch (message.body_case()) {
    case v1::Request::kVersion:
    case v1::Request::kDoctor:
    case v1::Request::kImageAdd:
    case v1::Request::kEvents:
    case v1::Request::BODY_NOT_SET: return false;
    default: return true;
  }
}

std::unique_ptr<ControlRequest> make_request(RequestSetup setup) {
  if (auto request = make_forwarding_request(setup)) return request;
  return make_local_request(std::move(setup));
}

std::unique_ptr<ControlRequest> make_local_request(RequestSetup setup) {
  switch (setup.message.body_case()) {
    case v1::Request::kVersion: return std::make_unique<VersionRequest>(std::move(setup));
    case v1::Request::kList: return std::make_unique<ListRequest>(std::move(setup));
    case v1::Request::kInspect: return std::make_unique<InspectRequest>(std::move(setup));
    case v1::Request::kExplain: return std::make_unique<ExplainRequest>(std::move(setup));
    case v1::Request::kGenerations: return std::make_unique<GenerationsRequest>(std::move(setup));
    case v1::Request::kEvents: return std::make_unique<EventsRequest>(std::move(setup));
    case v1::Request::kRun:
    case v1::Request::kStart: return make_start_request(std::move(setup));
    case v1::Request::kExport:
    case v1::Request::kImport: return make_transfer_request(std::move(setup));
    case v1::Request::kLogs: return make_log_request(std::move(setup));
    case v1::Request::kDoctor: return make_doctor_request(std::move(setup));
    case v1::Request::kImageAdd: return make_image_request(std::move(setup));
    case v1::Request::kStop:
    case v1::Request::kCheckpoint:
    case v1::Request::kRestore:
    case v1::Request::kRemove: return make_change_request(std::move(setup));
    default: break;
  }
  if (auto request = make_cluster_request(setup)) return request;
  return std::make_unique<UnknownRequest>(std::move(setup));
}

}  // namespace perdure::node
