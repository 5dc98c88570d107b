// A plain HTTP client for tests of servers: sends what it is told, also what no client should send.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace espalier::test {

struct HttpAnswer {
  int status = 0;  // 0: the connection ended without one
  std::string head, body;
};

class HttpConnection {
 public:
  explicit HttpConnection(int port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    timeval limit{30, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ::close(socket_);
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
    }
  }
  ~HttpConnection() { ::close(socket_); }
  HttpConnection(const HttpConnection&) = delete;

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // One more piece of the stream; false: it ended.
  bool more() {
    char bytes[16384];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got > 0) buffer_.append(bytes, static_cast<size_t>(got));
    return got > 0;
  }

  HttpAnswer receive() {
    HttpAnswer answer;
    while (buffer_.find("\r\n\r\n") == std::string::npos)
      if (!more()) return answer;
    const size_t head = buffer_.find("\r\n\r\n") + 4;
    answer.head = buffer_.substr(0, head);
    buffer_.erase(0, head);
    const int status = std::stoi(answer.head.substr(9, 3));
    bool whole = true;
    if (answer.head.find("Transfer-Encoding: chunked") != std::string::npos) whole = receive_chunks(answer.body);
    else if (const size_t at = answer.head.find("Content-Length: "); at != std::string::npos) whole = take(std::stoul(answer.head.substr(at + 16)), answer.body);
    else {
      while (more()) {
      }
      answer.body = std::exchange(buffer_, "");
    }
    if (whole) answer.status = status;
    return answer;
  }

  const std::string& buffer() const { return buffer_; }
  int socket() const { return socket_; }

 private:
  bool take(size_t size, std::string& out) {
    while (buffer_.size() < size)
      if (!more()) return false;
    out += buffer_.substr(0, size);
    buffer_.erase(0, size);
    return true;
  }

  bool receive_chunks(std::string& out) {
    for (;;) {
      size_t end;
      while ((end = buffer_.find("\r\n")) == std::string::npos)
        if (!more()) return false;
      const size_t size = std::stoul(buffer_.substr(0, end), nullptr, 16);
      buffer_.erase(0, end + 2);
      std::string closing;
      if (!take(size, out) || !take(2, closing)) return false;
      if (size == 0) return true;
    }
  }

  int socket_;
  std::string buffer_;
};

inline std::string http_post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
inline std::string http_get(const std::string& path) { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"; }

inline HttpAnswer http_ask(int port, const std::string& request) {
  HttpConnection connection(port);
  connection.send(request);
  return connection.receive();
}

}  // namespace espalier::test
