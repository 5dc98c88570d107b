#include "espalier/engine/server/http_request.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>

namespace espalier {
namespace {

constexpr size_t kMostHead = 64u << 10, kMostHeaders = 200, kMostLine = 1024;

struct Bad {
  int status;
  const char* message;
};
constexpr Bad kGone{-1, ""};

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || kMarks.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_field(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class Reader {
 public:
  Reader(int socket, std::string& buffer, uint64_t max_body, double seconds)
      : socket_(socket), buffer_(buffer), max_body_(max_body),
        deadline_(std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds))) {}

  ~Reader() { drop_used(); }
  Reader(const Reader&) = delete;

  void wait_for_first_byte() {
    while (rest().empty() || rest() == "\r" || rest().starts_with("\r\n")) {  // empty lines may be left over from before
      if (rest().starts_with("\r\n")) used_ += 2;
      else more();
    }
  }

  HttpRequest request() {
    HttpRequest request;
    head(request, take_head());
    body(request);
    return request;
  }

 private:
  std::string_view rest() const { return std::string_view(buffer_).substr(used_); }

  void drop_used() {
    buffer_.erase(0, used_);
    used_ = 0;
  }

  void more() {
    drop_used();
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now()).count();
    pollfd ready{socket_, POLLIN, 0};
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) <= 0) throw buffer_.empty() ? kGone : Bad{408, "the request took too long"};
    char bytes[16384];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got <= 0 && !(got < 0 && (errno == EINTR || errno == EAGAIN))) throw kGone;
    if (got > 0) buffer_.append(bytes, static_cast<size_t>(got));
  }

  std::string take_head() {
    size_t from = 0;
    for (;;) {
      if (const size_t end = rest().find("\r\n\r\n", from); end != std::string_view::npos && end <= kMostHead) {
        std::string head(rest().substr(0, end + 2));
        used_ += end + 4;
        return head;
      }
      if (rest().size() > kMostHead) throw Bad{431, "the headers are too large"};
      from = rest().size() < 3 ? 0 : rest().size() - 3;
      more();
    }
  }

  static void head(HttpRequest& request, std::string_view head) {
    bool first = true;
    while (!head.empty()) {
      const size_t end = head.find("\r\n");
      const std::string_view line = head.substr(0, end);
      head.remove_prefix(end + 2);
      if (std::exchange(first, false)) request_line(request, line);
      else header_line(request, line);
    }
    const std::string* connection = request.header("connection");
    const std::string wish = connection ? lower(*connection) : "";
    request.keep_alive = request.may_chunk ? wish.find("close") == std::string::npos : wish.find("keep-alive") != std::string::npos;
  }

  static void request_line(HttpRequest& request, std::string_view line) {
    const size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) throw Bad{400, "the first line is no HTTP request"};
    const std::string_view method = line.substr(0, first), target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
    if (!is_token(method) || !target.starts_with('/') || target.find(' ') != std::string_view::npos || !is_field(target) || !version.starts_with("HTTP/"))
      throw Bad{400, "the first line is no HTTP request"};
    if (version != "HTTP/1.1" && version != "HTTP/1.0") throw Bad{505, "this server speaks HTTP/1.1"};
    request.may_chunk = version == "HTTP/1.1";
    request.head_only = method == "HEAD";
    request.method = request.head_only ? "GET" : method;
    request.path = target.substr(0, target.find('?'));
  }

  static void header_line(HttpRequest& request, std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon)) || !is_field(line.substr(colon + 1)))
      throw Bad{400, "a header line is malformed"};
    if (request.headers.size() == kMostHeaders) throw Bad{431, "there are too many headers"};
    request.headers.emplace_back(lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  }

  void body(HttpRequest& request) {
    const std::string *encoding = request.header("transfer-encoding"), *length = request.header("content-length");
    for (const auto& [name, value] : request.headers)
      if (name == "content-length" && value != *length) throw Bad{400, "Content-Length is given twice"};
    if (encoding && length) throw Bad{400, "both Content-Length and Transfer-Encoding are given"};
    if (encoding && lower(*encoding) != "chunked") throw Bad{501, "of transfer encodings only chunked is known"};
    const auto size = length ? number(*length, 10) : uint64_t{0};
    if (!size) throw Bad{400, "Content-Length is no number"};
    if (*size > max_body_) throw Bad{413, "the body is too large"};
    if ((encoding || *size > 0) && request.header("expect") && lower(*request.header("expect")) == "100-continue" && rest().empty())
      ::send(socket_, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    request.body = encoding ? chunks() : take(*size);
  }

  std::string take(uint64_t size) {
    while (rest().size() < size) more();
    std::string bytes(rest().substr(0, size));
    used_ += size;
    return bytes;
  }

  std::string line() {
    size_t end;
    while ((end = rest().find("\r\n")) == std::string_view::npos) {
      if (rest().size() > kMostLine) throw Bad{400, "a chunk's first line is too long"};
      more();
    }
    std::string text(rest().substr(0, end));
    used_ += end + 2;
    return text;
  }

  std::string chunks() {
    std::string body;
    for (;;) {
      const std::string first = line();
      const auto size = number(std::string_view(first).substr(0, first.find(';')), 16);
      if (!size) throw Bad{400, "a chunk's size is no number"};
      if (*size == 0) break;
      if (*size > max_body_ || body.size() + *size > max_body_) throw Bad{413, "the body is too large"};
      body += take(*size);
      if (take(2) != "\r\n") throw Bad{400, "a chunk does not end where it says"};
    }
    for (size_t i = 0; !line().empty(); ++i)  // trailers
      if (i == kMostHeaders) throw Bad{431, "there are too many trailers"};
    return body;
  }

  int socket_;
  std::string& buffer_;
  size_t used_ = 0;  // of buffer_: read already
  uint64_t max_body_;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

const std::string* HttpRequest::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_name) return &value;
  return nullptr;
}

HttpRead read_request(int socket, std::string& buffer, uint64_t max_body, double seconds, const std::function<void()>& on_begin) {
  HttpRead read;
  try {
    Reader(socket, buffer, max_body, seconds).wait_for_first_byte();
    on_begin();
    read.request = Reader(socket, buffer, max_body, seconds).request();
  } catch (const Bad& bad) {
    read.error = bad.status;
    read.message = bad.message;
  }
  return read;
}

}  // namespace espalier
