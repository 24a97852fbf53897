// The production side of transport.h: frames of io/unix_socket.h.
#include <format>

#include "cli/transport.h"
#include "control_limits.h"
#include "io/unix_socket.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

class SocketConnection final : public Connection {
 public:
  explicit SocketConnection(io::FramedClient client) : client_(std::move(client)) {}

  Status send(const v1::Request& request, int fd, Duration timeout) override {
    const std::string payload = request.SerializeAsString();
    if (payload.size() > control::kMaxRequestBytes) {
      return fail(ErrorCode::kInvalid,
                  std::format("the request has {} bytes, more than the {} that perdured takes",
                              payload.size(), control::kMaxRequestBytes));
    }
    return client_.send(payload, BootClock::now() + timeout, fd);
  }

  Result<v1::Response> receive(Duration timeout) override {
    PERDURE_ASSIGN(auto frame, client_.receive(BootClock::now() + timeout));
    if (!frame.has_value()) return fail(ErrorCode::kIo, "the connection was closed");
    if (frame->payload.size() > control::kMaxResponseBytes) {
      return fail(ErrorCode::kInvalid,
                  std::format("an answer of {} bytes is too large", frame->payload.size()));
    }
    v1::Response response;
    if (!response.ParseFromString(frame->payload))
      return fail(ErrorCode::kInvalid, "the answer cannot be decoded");
    return response;
  }

 private:
  io::FramedClient client_;
};

class SocketConnector final : public Connector {
 public:
  explicit SocketConnector(std::string path) : path_(std::move(path)) {}

  Result<std::unique_ptr<Connection>> connect(Duration timeout) override {
    PERDURE_ASSIGN(auto client, io::FramedClient::connect(path_, BootClock::now() + timeout));
    return std::make_unique<SocketConnection>(std::move(client));
  }
  std::string where() const override { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::unique_ptr<Connector> make_socket_connector(std::string path) {
  return std::make_unique<SocketConnector>(std::move(path));
}

}  // namespace perdure::cli
