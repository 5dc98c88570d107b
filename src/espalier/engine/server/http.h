// HTTP/1.1 for one small server: a thread a connection, of which there are only so many; every read and write has a limit
// in bytes and in time. Requests may be hostile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace espalier {

struct HttpRequest {
  std::string method, path;  // HEAD comes as GET; the path without what follows a '?'
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  bool keep_alive = true, may_chunk = true;  // HTTP/1.1
  bool head_only = false;                    // no body is answered

  const std::string* header(std::string_view lower_name) const;  // null: none
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

// The answer to one request: either send(), or begin(), write() … and end().
class HttpExchange {
 public:
  HttpExchange(int socket, const HttpRequest& request, bool keep_alive)
      : socket_(socket), keep_alive_(keep_alive), may_chunk_(request.may_chunk), head_only_(request.head_only) {}

  // False from all: the peer has gone, or has not read for as long as it may.
  bool send(const HttpResponse& response);
  bool begin(const std::string& type);  // 200, a body of unknown length
  bool write(std::string_view piece);
  bool end();
  void abandon() { good_ = false; }  // the connection ends here, whatever was sent

  bool peer_gone() const;  // without waiting; a peer that closed only its sending half counts, too
  bool keeps_alive() const { return keep_alive_ && good_; }
  bool answered() const { return answered_; }

 private:
  bool send_bytes(std::string_view bytes);
  std::string head(int status, const std::string& type) const;

  int socket_;
  bool keep_alive_, may_chunk_, head_only_, good_ = true, answered_ = false;
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 0;                    // 0: any free one
  uint64_t max_body = 16u << 20;
  int max_connections = 256;       // more wait to be accepted
  double read_seconds = 30;        // for a whole request, and for a connection without one
  double write_seconds = 30;       // without the peer reading anything
};

class HttpServer {
 public:
  using Handler = std::function<void(const HttpRequest&, HttpExchange&)>;
  using ErrorBody = std::function<HttpResponse(int status, const std::string& message)>;

  // Listens at once; UserError when it cannot. error: what is answered to requests that are none. Both are called from
  // several threads.
  HttpServer(const HttpOptions& options, Handler handler, ErrorBody error);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  int port() const { return port_; }
  int connections() const;
  // Takes no more connections and closes idle ones; the others end with the answer that they are at.
  void stop();
  void disconnect();  // stop(), and cuts the others off

 private:
  void accept_all();
  void serve(int socket);
  bool serve_one(int socket, std::string& buffer);
  void close_connection(int socket);

  HttpOptions options_;
  Handler handler_;
  ErrorBody error_;
  int listener_ = -1, wake_[2] = {-1, -1}, port_ = 0;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, bool> connections_;  // by socket: idle
  std::thread thread_;
};

}  // namespace espalier
