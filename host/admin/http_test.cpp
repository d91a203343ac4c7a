// SPDX-License-Identifier: Apache-2.0
#include "host/admin/http.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

namespace gantry::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct HttpServerTest : testing::Test {
  base::UniqueFd Connect() const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string bound = server->address();
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(bound.substr(bound.rfind(':') + 1))));
    base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const timeval timeout{20, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return fd;
  }
  static std::string ReadAll(int fd) {
    std::string text(1 << 20, '\0');
    size_t size = 0;
    for (ssize_t n = 1; n > 0; size += static_cast<size_t>(std::max<ssize_t>(n, 0)))
      n = recv(fd, text.data() + size, text.size() - size, 0);
    text.resize(size);
    return text;
  }
  std::string Ask(const std::string& request) const {
    const auto fd = Connect();
    EXPECT_EQ(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    return ReadAll(fd.get());
  }

  std::unique_ptr<HttpServer> server =
      HttpServer::Start("127.0.0.1:0", [](std::string_view path) {
        if (path == "/big") return HttpReply{200, "text/plain", std::string(500'000, 'x')};
        return HttpReply{path == "/good" ? 200 : 404, "text/plain", "body\n"};
      }).value();
};

TEST_F(HttpServerTest, AnswersByPathAndIgnoresTheQuery) {
  const auto answer = Ask("GET /good?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nbody\n"));
  EXPECT_THAT(Ask("GET /other HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(HttpServerTest, SendsAnAnswerLargerThanASocketTakesAtOnce) {
  EXPECT_GT(Ask("GET /big HTTP/1.1\r\n\r\n").size(), 500'000u);
}

TEST_F(HttpServerTest, RefusesOtherMethodsAndOtherProtocols) {
  EXPECT_THAT(Ask("POST /good HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Ask("\x16\x03\x01 rubbish\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask("GET\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, DropsARequestWithoutEnd) {
  EXPECT_EQ(Ask("GET /good HTTP/1.1\r\n" + std::string(kHttpRequestBytesMax + 4096, 'x')), "");
}

TEST_F(HttpServerTest, ServesWhileOthersSayNothing) {
  std::vector<base::UniqueFd> silent;
  for (size_t i = 0; i < kHttpConnectionsMax + 4; ++i) silent.push_back(Connect());
  EXPECT_THAT(Ask("GET /good HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, NamesAnAddressThatItCannotHave) {
  const auto first = HttpServer::Start("127.0.0.1:0", [](auto) { return HttpReply(); }).value();
  const auto second = HttpServer::Start(first->address(), [](auto) { return HttpReply(); });
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("metrics.address: listen at 127.0.0.1:"));
}

}  // namespace
}  // namespace gantry::admin
