// What operators' requests that concern the cluster have in common. Loop thread only.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "node/cluster/cluster.h"
#include "node/control_request.h"

namespace perdure::node {

class ClusterRequest : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

 protected:
  void tell(std::string_view stage, std::string_view text) {
    control::v1::Response response;
    response.mutable_progress()->set_stage(std::string(stage));
    response.mutable_progress()->set_text(std::string(text));
    send(std::move(response));
  }
  // What goes on when the operator has gone away.
  Cluster::Progress progress() {
    return [this, token = lifetime_.token()](std::string_view stage, std::string_view text) {
      if (token.alive() && !is_finished()) tell(stage, text);
    };
  }
  template <typename Callback>
  auto alive(Callback callback) {
    return [this, token = lifetime_.token(), callback = std::move(callback)](auto&&... arguments) {
      if (token.alive() && !is_finished()) callback(std::forward<decltype(arguments)>(arguments)...);
    };
  }
  // False after fail(): this host is in no cluster.
  bool require_member() {
    if (cluster() != nullptr && cluster()->member()) return true;
    fail(Error(ErrorCode::kNotFound, "this host is in no cluster"),
         "'perdure cluster init' makes one of it, 'perdure cluster join' lets it join one");
    return false;
  }
  void reply_status(const std::string& token = {}) {
    control::v1::Response response;
    *response.mutable_cluster() = cluster()->status();
    response.mutable_cluster()->set_token(token);
    finish(std::move(response));
  }
};

}  // namespace perdure::node
