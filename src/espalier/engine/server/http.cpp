#include "espalier/engine/server/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <system_error>

#include "espalier/core/error.h"
#include "espalier/engine/server/http_request.h"

namespace espalier {
namespace {

constexpr int kBacklog = 512;

const char* reason_of(int status) {
  static const std::map<int, const char*> kReasons = {
      {200, "OK"}, {400, "Bad Request"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
      {413, "Content Too Large"}, {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"}, {501, "Not Implemented"}, {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"}};
  const auto at = kReasons.find(status);
  return at == kReasons.end() ? "Unknown" : at->second;
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Addresses resolve(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) user_error("--host: {}: {}", printable(host), ::gai_strerror(error));
  return {found, ::freeaddrinfo};
}

int listen_on(const std::string& host, int port) {
  const Addresses addresses = resolve(host, port);
  int error = 0;
  for (const addrinfo* at = addresses.get(); at; at = at->ai_next) {
    const int made = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol), yes = 1;
    if (made < 0) continue;
    ::setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(made, at->ai_addr, at->ai_addrlen) == 0 && ::listen(made, kBacklog) == 0) return made;
    error = errno;
    ::close(made);
  }
  user_error("--port: cannot listen on {} port {}: {}", printable(host), port, std::generic_category().message(error));
}

int port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

void set_write_limit(int socket, double seconds) {
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(seconds);
  limit.tv_usec = static_cast<suseconds_t>((seconds - std::floor(seconds)) * 1e6);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int yes = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

// Reads what the peer still sends, for a short while: closing with bytes unread would take the answer away from it.
void linger(int socket) {
  ::shutdown(socket, SHUT_WR);
  char bytes[16384];
  pollfd ready{socket, POLLIN, 0};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < end && ::poll(&ready, 1, 1000) > 0)
    if (::recv(socket, bytes, sizeof bytes, 0) <= 0) return;
}

}  // namespace

std::string HttpExchange::head(int status, const std::string& type) const {
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nConnection: {}\r\n", status, reason_of(status), type, keep_alive_ ? "keep-alive" : "close");
}

bool HttpExchange::send_bytes(std::string_view bytes) {
  while (good_ && !bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    else if (errno != EINTR) good_ = false;
  }
  return good_;
}

bool HttpExchange::send(const HttpResponse& response) {
  answered_ = true;
  std::string all = head(response.status, response.type) + fmt::format("Content-Length: {}\r\n", response.body.size());
  for (const auto& [name, value] : response.headers) all += name + ": " + value + "\r\n";
  return send_bytes(all + "\r\n" + (head_only_ ? "" : response.body));
}

bool HttpExchange::begin(const std::string& type) {
  answered_ = true;
  if (!may_chunk_) keep_alive_ = false;
  return send_bytes(head(200, type) + "Cache-Control: no-store\r\n" + (may_chunk_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
}

bool HttpExchange::write(std::string_view piece) {
  if (piece.empty()) return good_;
  return send_bytes(may_chunk_ ? fmt::format("{:x}\r\n{}\r\n", piece.size(), piece) : std::string(piece));
}

bool HttpExchange::end() { return may_chunk_ ? send_bytes("0\r\n\r\n") : good_; }

bool HttpExchange::peer_gone() const {
  char byte;
  const ssize_t got = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler, ErrorBody error)
    : options_(options), handler_(std::move(handler)), error_(std::move(error)), listener_(listen_on(options.host, options.port)) {
  if (::pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0) {
    ::close(listener_);
    user_error("cannot make a pipe: {}", std::generic_category().message(errno));
  }
  port_ = port_of(listener_);
  thread_ = std::thread([this] { accept_all(); });
}

HttpServer::~HttpServer() {
  disconnect();
  thread_.join();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return connections_.empty(); });
  for (const int fd : wake_) ::close(fd);
}

int HttpServer::connections() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(connections_.size());
}

void HttpServer::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  if (::write(wake_[1], "x", 1) < 0 && errno != EAGAIN) std::abort();
  changed_.notify_all();
  for (const auto& [socket, idle] : connections_)
    if (idle) ::shutdown(socket, SHUT_RDWR);
}

void HttpServer::disconnect() {
  stop();
  const std::lock_guard lock(mutex_);
  for (const auto& connection : connections_) ::shutdown(connection.first, SHUT_RDWR);
}

void HttpServer::accept_all() {
  while (!stopping_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || static_cast<int>(connections_.size()) < options_.max_connections; });
    }
    pollfd ready[2] = {{listener_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    if (stopping_ || ::poll(ready, 2, -1) <= 0 || (ready[1].revents | (ready[0].revents & ~POLLIN))) continue;
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      continue;
    }
    set_write_limit(socket, options_.write_seconds);
    {
      const std::lock_guard lock(mutex_);
      connections_[socket] = true;
    }
    try {
      std::thread([this, socket] { serve(socket); }).detach();  // counted in connections_
    } catch (const std::system_error&) {
      close_connection(socket);
    }
  }
  ::close(listener_);
}

void HttpServer::close_connection(int socket) {
  const std::lock_guard lock(mutex_);
  connections_.erase(socket);
  ::close(socket);
  changed_.notify_all();
}

void HttpServer::serve(int socket) {
  std::string buffer;
  try {
    while (!stopping_ && serve_one(socket, buffer)) {
      const std::lock_guard lock(mutex_);
      connections_[socket] = true;
    }
  } catch (const std::exception&) {  // no memory for a request: this connection ends, the others go on
  }
  close_connection(socket);
}

// False: the connection ends.
bool HttpServer::serve_one(int socket, std::string& buffer) {
  const HttpRead read = read_request(socket, buffer, options_.max_body, options_.read_seconds, [this, socket] {
    const std::lock_guard lock(mutex_);
    connections_[socket] = false;
  });
  if (read.error < 0) return false;
  HttpExchange exchange(socket, read.request, read.error == 0 && read.request.keep_alive && !stopping_);
  if (read.error > 0) {
    if (exchange.send(error_(read.error, read.message))) linger(socket);
    return false;
  }
  try {
    handler_(read.request, exchange);
  } catch (const std::exception& error) {
    if (exchange.answered()) return false;
    exchange.send(error_(500, error.what()));
  }
  return exchange.keeps_alive();
}

}  // namespace espalier
