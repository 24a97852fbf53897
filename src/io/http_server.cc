#include "io/http_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <cstdint>
#include <format>
#include <map>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/accepting.h"
#include "io/tls_socket.h"

namespace perdure::io {

namespace {

namespace http = boost::beast::http;

constexpr std::size_t kRequestReadBytes = 4096;
// What a client may send after its request until it has read the answer; read and thrown away.
constexpr std::size_t kMaxIgnoredBytes = std::size_t{64} << 10;

class HttpServerImpl;

// Reads one request, writes one answer, then waits for the client's end: a socket that is closed
// with unread input takes back what the client has not read yet.
class HttpConnection final {
 public:
  HttpConnection(HttpServerImpl& server, std::uint64_t id, UniqueFd socket);
  Status start();

 private:
  void on_ready(short event);
  void read_request();
  void parse(std::size_t fresh);
  void answer(const HttpResponse& response);
  void write_answer();
  void discard();
  void end();

  HttpServerImpl& server_;
  const std::uint64_t id_;
  http::request_parser<http::empty_body> parser_;
  std::string input_;   // not parsed yet
  std::string output_;  // not sent yet
  std::size_t read_bytes_ = 0;
  std::size_t sent_bytes_ = 0;
  std::size_t ignored_bytes_ = 0;
  bool answered_ = false;
  UniqueFd socket_;
  Watch watch_;
  Timer deadline_;
};

class HttpServerImpl final : public HttpServer {
 public:
  HttpServerImpl(Loop& loop, HttpServerOptions options, HttpHandler handler)
      : loop_(loop),
        options_(std::move(options)),
        endpoint_(options_.listen),
        handler_(std::move(handler)) {
    PERDURE_ASSERT(handler_);
  }
  Status start();

  const Endpoint& endpoint() const override { return endpoint_; }
  std::size_t connection_count() const override { return connections_.size(); }

  Loop& loop() { return loop_; }
  const HttpServerOptions& options() const { return options_; }
  HttpResponse respond(const std::string& path) { return handler_(path); }
  void forget(std::uint64_t id) { connections_.erase(id); }

 private:
  void accept_some();
  void accept_failed(int error_number);
  void open_connection(UniqueFd socket);

  Loop& loop_;
  const HttpServerOptions options_;
  Endpoint endpoint_;
  const HttpHandler handler_;
  UniqueFd listener_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::unique_ptr<HttpConnection>> connections_;
  Watch accept_watch_;
  Timer accept_retry_;
};

std::string path_of(std::string_view target) {
  return std::string(target.substr(0, target.find('?')));
}

HttpResponse refusal(http::status status) {
  return {.status = static_cast<unsigned>(status),
          .body = std::string(http::obsolete_reason(status)) + "\n"};
}

std::string encode(const HttpResponse& response) {
  const auto status = static_cast<http::status>(response.status);
  std::string text = std::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
      response.status, std::string_view(http::obsolete_reason(status)), response.content_type,
      response.body.size());
  if (status == http::status::method_not_allowed) text += "Allow: GET\r\n";
  return text + "\r\n" + response.body;
}

// --- one connection

HttpConnection::HttpConnection(HttpServerImpl& server, std::uint64_t id, UniqueFd socket)
    : server_(server), id_(id), socket_(std::move(socket)) {
  parser_.header_limit(static_cast<std::uint32_t>(server.options().max_request_bytes));
}

Status HttpConnection::start() {
  PERDURE_ASSIGN(watch_, server_.loop().watch(socket_.get(), POLLIN,
                                              [this](short event) { on_ready(event); }));
  deadline_ = server_.loop().after(server_.options().connection_time, [this] { end(); });
  return {};
}

// Last statement of whoever calls it: this is gone.
void HttpConnection::end() {
  server_.forget(id_);
}

void HttpConnection::on_ready(short event) {
  if (event == POLLOUT) return write_answer();
  if (answered_) return discard();
  read_request();
}

void HttpConnection::read_request() {
  std::array<char, kRequestReadBytes> buffer;
  const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return end();  // before its request was complete
  input_.append(buffer.data(), static_cast<std::size_t>(count));
  parse(static_cast<std::size_t>(count));
}

void HttpConnection::parse(std::size_t fresh) {
  read_bytes_ += fresh;
  boost::system::error_code error;
  const std::size_t used =
      parser_.put(boost::asio::const_buffer(input_.data(), input_.size()), error);
  input_.erase(0, used);
  const bool whole = parser_.is_header_done();
  const bool too_long = error == http::error::header_limit ||
                        (!whole && read_bytes_ > server_.options().max_request_bytes);
  if (too_long) return answer(refusal(http::status::request_header_fields_too_large));
  if (!whole && error == http::error::need_more) return;
  // A body that is announced is none of our business; its method is looked at first.
  if (!whole) return answer(refusal(http::status::bad_request));
  if (parser_.get().method() != http::verb::get)
    return answer(refusal(http::status::method_not_allowed));
  answer(server_.respond(path_of(std::string_view(parser_.get().target()))));
}

void HttpConnection::answer(const HttpResponse& response) {
  answered_ = true;
  input_.clear();
  output_ = encode(response);
  write_answer();
}

void HttpConnection::write_answer() {
  while (sent_bytes_ < output_.size()) {
    const ssize_t count = ::send(socket_.get(), output_.data() + sent_bytes_,
                                 output_.size() - sent_bytes_, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return watch_.set_events(POLLOUT);
    if (count < 0) return end();
    sent_bytes_ += static_cast<std::size_t>(count);
  }
  output_ = {};
  ::shutdown(socket_.get(), SHUT_WR);
  watch_.set_events(POLLIN);
}

void HttpConnection::discard() {
  std::array<char, kRequestReadBytes> buffer;
  const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0) ignored_bytes_ += static_cast<std::size_t>(count);
  if (count <= 0 || ignored_bytes_ > kMaxIgnoredBytes) end();
}

// --- the server

Status HttpServerImpl::start() {
  PERDURE_ASSIGN(listener_, listen_on(options_.listen));
  PERDURE_ASSIGN(endpoint_, local_endpoint(listener_.get()));
  PERDURE_ASSIGN(accept_watch_, loop_.watch_readable(listener_.get(), [this] { accept_some(); }));
  return {};
}

void HttpServerImpl::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      const int error = errno;
      if (error == EAGAIN) return;
      if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
        return accept_failed(error);
      continue;  // that connection has failed already (accept(2), "Error handling")
    }
    if (connections_.size() < options_.max_connections) open_connection(std::move(socket));
  }
}

void HttpServerImpl::accept_failed(int error_number) {
  log::error(
      "{}",
      Error::from_errno(std::format("accept on {}", to_string(endpoint_)), error_number).message());
  accept_watch_.set_events(0);
  accept_retry_ = loop_.after(kAcceptRetryTime, [this] { accept_watch_.set_events(POLLIN); });
}

void HttpServerImpl::open_connection(UniqueFd socket) {
  const std::uint64_t id = next_id_++;
  auto connection = std::make_unique<HttpConnection>(*this, id, std::move(socket));
  if (Status started = connection->start(); !started) {
    log::warning("{}: {}", to_string(endpoint_), started.error().message());
    return;
  }
  connections_.emplace(id, std::move(connection));
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(Loop& loop, HttpServerOptions options,
                                                       HttpHandler handler) {
  auto server = std::make_unique<HttpServerImpl>(loop, std::move(options), std::move(handler));
  PERDURE_TRY(server->start());
  return server;
}

}  // namespace perdure::io
