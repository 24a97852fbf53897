// Answers GET over HTTP/1.1, for what is read by machines (metrics). No TLS, no bodies of requests,
// one request per connection.
//
// Every client is suspect: none can make the server hold more than the bounds below, keep a
// connection longer than its deadline, or keep the server from answering others. Loop thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/endpoint.h"
#include "io/loop.h"

namespace perdure::io {

// Connections at once; the next is closed without an answer. A scraper has one at a time, a handful
// of people with browsers come on top.
inline constexpr std::size_t kMaxHttpConnections = 16;
// Request line and fields; more is answered by 431. What scrapers and browsers send is below 2 KiB.
inline constexpr std::size_t kMaxHttpRequestBytes = std::size_t{8} << 10;
// From the connection to the last byte of the answer. Scrapers give up after 10 s by default.
inline constexpr Duration kHttpConnectionTime = std::chrono::seconds(10);

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
};

struct HttpServerOptions {
  Endpoint listen;
  std::size_t max_connections = kMaxHttpConnections;
  std::size_t max_request_bytes = kMaxHttpRequestBytes;
  Duration connection_time = kHttpConnectionTime;
};

// The path as it was sent, without its query: "/metrics". Must return at once.
using HttpHandler = std::function<HttpResponse(const std::string& path)>;

class HttpServer {
 public:
  // kConflict: another program listens there. kInvalid: no interface of this host has the address.
  static Result<std::unique_ptr<HttpServer>> listen(Loop& loop, HttpServerOptions options,
                                                    HttpHandler handler);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  virtual ~HttpServer() = default;

  // Where it listens, with the port that the kernel chose for port 0.
  virtual const Endpoint& endpoint() const = 0;
  virtual std::size_t connection_count() const = 0;

 protected:
  HttpServer() = default;
};

}  // namespace perdure::io
