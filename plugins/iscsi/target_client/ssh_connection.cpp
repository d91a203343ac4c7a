// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target_client/ssh_connection.hpp"

#include <arpa/inet.h>
#include <libssh/libssh.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::target_client {
namespace {

using plugin::Fail;
using plugin::Result;
using plugin::Status;
using plugin::UniqueFd;
namespace code = plugin::code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kWaitMsMax{100};  // then the cancellation is looked at

template <auto kFree>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<ssh_key_struct, Freer<ssh_key_free>>;
using Session = std::unique_ptr<ssh_session_struct, Freer<ssh_free>>;
using Channel = std::unique_ptr<ssh_channel_struct, Freer<ssh_channel_free>>;

std::string Place(const SshConfig& config) {
  return "ssh " + config.user + "@" + config.host + ":" + std::to_string(config.port);
}

Status MayGoOn(const Asked& asked, const std::string& what) {
  if (asked.cancelled && asked.cancelled()) return Fail(code::kCancelled, what + ": cancelled");
  if (steady_clock::now() >= asked.deadline)
    return Fail(code::kDeadlineExceeded, what + ": no answer before the deadline");
  return {};
}

// One wait, at most kWaitMsMax and at most until the deadline.
void WaitFor(int fd, int16_t events, const Asked& asked) {
  const auto left = std::chrono::ceil<milliseconds>(
      std::min(asked.deadline - steady_clock::now(), TimePoint::duration(kWaitMsMax)));
  pollfd wait{fd, events, 0};
  (void)poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
}

int16_t EventsOf(ssh_session session) {
  const int flags = ssh_get_poll_flags(session);
  return static_cast<int16_t>(
      POLLIN | ((static_cast<unsigned>(flags) & SSH_WRITE_PENDING) != 0 ? POLLOUT : 0));
}

// Repeats a step of libssh while it says `again`.
template <class StepFunction>
Result<int> Until(ssh_session session, int again, const Asked& asked, const std::string& what,
                  StepFunction step) {
  for (;;) {
    const int done = step();
    if (done != again) return done;
    GANTRY_PLUGIN_TRY(MayGoOn(asked, what));
    WaitFor(ssh_get_fd(session), EventsOf(session), asked);
  }
}

struct AddressesFreer {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, AddressesFreer>;

// Blocks as long as resolv.conf(5) lets it where the host is a name.
Result<Addresses> Resolve(const SshConfig& config) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error =
      getaddrinfo(config.host.c_str(), std::to_string(config.port).c_str(), &hints, &list);
  if (error != 0) return Fail(code::kUnavailable, Place(config) + ": " + gai_strerror(error));
  return Addresses(list);
}

Result<UniqueFd> ConnectTo(const addrinfo& address, const SshConfig& config, const Asked& asked) {
  UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Fail(code::kUnavailable, Place(config) + ": " + std::strerror(errno));
  const int on = 1;
  (void)setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0 && errno != EINPROGRESS)
    return Fail(code::kUnavailable, Place(config) + ": " + std::strerror(errno));
  for (;;) {
    pollfd ready{fd.get(), POLLOUT, 0};
    if (poll(&ready, 1, 0) == 1) break;
    GANTRY_PLUGIN_TRY(MayGoOn(asked, Place(config)));
    WaitFor(fd.get(), POLLOUT, asked);
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
    return Fail(code::kUnavailable, Place(config) + ": " + std::strerror(error));
  return fd;
}

Result<UniqueFd> Connect(const SshConfig& config, const Asked& asked) {
  GANTRY_PLUGIN_TRY_ASSIGN(const Addresses addresses, Resolve(config));
  plugin::Error last{code::kUnavailable, Place(config) + ": no address"};
  for (const addrinfo* one = addresses.get(); one != nullptr; one = one->ai_next) {
    auto fd = ConnectTo(*one, config, asked);
    if (fd || fd.error().code != code::kUnavailable) return fd;
    last = std::move(fd.error());
  }
  return tl::unexpected(std::move(last));
}

// The words of "ssh-ed25519 AAAA... comment".
Result<Key> ParseHostKey(const std::string& text) {
  const auto refused = [&text] {
    return Fail(code::kInvalidArgument,
                "host_keys: \"" + text + "\": expected a type and a key, \"ssh-ed25519 AAAA...\"");
  };
  const size_t blank = text.find(' ');
  if (blank == std::string::npos) return refused();
  const std::string type = text.substr(0, blank);
  const std::string encoded = text.substr(blank + 1, text.find(' ', blank + 1) - blank - 1);
  ssh_key key = nullptr;
  if (ssh_pki_import_pubkey_base64(encoded.c_str(), ssh_key_type_from_name(type.c_str()), &key) !=
      SSH_OK)
    return refused();
  return Key(key);
}

// So that the server shows a key of a kind that is known.
std::string Algorithms(const SshConfig& config) {
  std::set<std::string> kinds;
  for (const auto& text : config.host_keys) {
    const std::string type = text.substr(0, text.find(' '));
    kinds.insert(type == "ssh-rsa" ? "rsa-sha2-512,rsa-sha2-256" : type);
  }
  std::string all;
  for (const auto& kind : kinds) all += (all.empty() ? "" : ",") + kind;
  return all;
}

// No file of a user is read: not ~/.ssh either, which libssh would look for, and fail where the
// process's user is none that the machine knows, as a worker's is.
constexpr const char* kNoDirectory = "/nonexistent";
constexpr const char* kNoFile = "/dev/null";

Status SetUp(ssh_session session, const SshConfig& config, int fd) {
  const int no = 0;
  const std::string algorithms = Algorithms(config);
  const bool done = ssh_options_set(session, SSH_OPTIONS_HOST, config.host.c_str()) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_USER, config.user.c_str()) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_SSH_DIR, kNoDirectory) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_KNOWNHOSTS, kNoFile) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, kNoFile) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_HOSTKEYS, algorithms.c_str()) == 0 &&
                    ssh_options_set(session, SSH_OPTIONS_FD, &fd) == 0;
  if (!done) return Fail(code::kInternal, Place(config) + ": " + ssh_get_error(session));
  ssh_set_blocking(session, 0);
  return {};
}

Status CheckHostKey(ssh_session session, const SshConfig& config) {
  ssh_key raw = nullptr;
  if (ssh_get_server_publickey(session, &raw) != SSH_OK)
    return Fail(code::kUnavailable, Place(config) + ": the server showed no key");
  const Key shown(raw);
  for (const auto& text : config.host_keys) {
    GANTRY_PLUGIN_TRY_ASSIGN(const Key known, ParseHostKey(text));
    if (ssh_key_cmp(shown.get(), known.get(), SSH_KEY_CMP_PUBLIC) == 0) return {};
  }
  return Fail(code::kUnauthenticated,
              Place(config) + ": the server's key (" +
                  ssh_key_type_to_char(ssh_key_type(shown.get())) +
                  ") is none of host_keys: another machine answers, or its key has changed");
}

Status Authenticate(ssh_session session, const SshConfig& config, const std::string& private_key,
                    const Asked& asked) {
  ssh_key raw = nullptr;
  if (ssh_pki_import_privkey_base64(private_key.c_str(), nullptr, nullptr, nullptr, &raw) != SSH_OK)
    return Fail(code::kFailedPrecondition,
                Place(config) +
                    ": the private key cannot be read: expected one of OpenSSH or PEM "
                    "without a passphrase");
  const Key key(raw);
  GANTRY_PLUGIN_TRY_ASSIGN(
      const int answer, Until(session, SSH_AUTH_AGAIN, asked, Place(config),
                              [&] { return ssh_userauth_publickey(session, nullptr, key.get()); }));
  if (answer == SSH_AUTH_SUCCESS) return {};
  if (answer == SSH_AUTH_ERROR)
    return Fail(code::kUnavailable, Place(config) + ": " + ssh_get_error(session));
  return Fail(code::kUnauthenticated, Place(config) + ": the server does not take the key");
}

}  // namespace

struct SshConnection::Parts {
  SshConfig config;
  Session session;  // before the channel, which it has to outlive
  Channel channel;
};

Status CheckSshConfig(const SshConfig& config) {
  if (config.host.empty())
    return Fail(code::kInvalidArgument, "host: \"\": expected an address or a name");
  if (config.user.empty())
    return Fail(code::kInvalidArgument, "user: \"\": expected a user's name");
  if (config.host_keys.empty() || config.host_keys.size() > kHostKeysMax)
    return Fail(code::kInvalidArgument,
                "host_keys: " + std::to_string(config.host_keys.size()) +
                    " keys: expected 1 to 8 of the server's, as ssh-keyscan shows them");
  if (config.command.empty() && config.subsystem.empty())
    return Fail(code::kInvalidArgument, "command: \"\": expected one, or a subsystem");
  for (const auto& text : config.host_keys)
    if (const auto key = ParseHostKey(text); !key) return tl::unexpected(key.error());
  return {};
}

SshConnection::SshConnection(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

SshConnection::~SshConnection() {
  if (!parts_->session) return;
  parts_->channel.reset();
  // It says good-bye where the socket takes it, and waits for nothing.
  ssh_disconnect(parts_->session.get());
}

Result<std::unique_ptr<SshConnection>> SshConnection::Open(const SshConfig& config,
                                                           const std::string& private_key,
                                                           const Asked& asked) {
  GANTRY_PLUGIN_TRY(CheckSshConfig(config));
  GANTRY_PLUGIN_TRY_ASSIGN(UniqueFd fd, Connect(config, asked));
  auto parts = std::make_unique<Parts>();
  parts->config = config;
  parts->session.reset(ssh_new());
  ssh_session session = parts->session.get();
  if (session == nullptr) return Fail(code::kInternal, "libssh: no memory");
  GANTRY_PLUGIN_TRY(SetUp(session, config, fd.get()));
  const std::string place = Place(config);
  const auto failed = [&] {
    return Fail(code::kUnavailable, place + ": " + ssh_get_error(session));
  };
  std::unique_ptr<SshConnection> connection(new SshConnection(std::move(parts)));
  (void)fd.Release();  // libssh's, which closes it with the session
  GANTRY_PLUGIN_TRY_ASSIGN(const int connected, Until(session, SSH_AGAIN, asked, place,
                                                      [&] { return ssh_connect(session); }));
  if (connected != SSH_OK) return failed();
  GANTRY_PLUGIN_TRY(CheckHostKey(session, config));
  GANTRY_PLUGIN_TRY(Authenticate(session, config, private_key, asked));
  connection->parts_->channel.reset(ssh_channel_new(session));
  ssh_channel channel = connection->parts_->channel.get();
  if (channel == nullptr) return failed();
  GANTRY_PLUGIN_TRY_ASSIGN(const int opened, Until(session, SSH_AGAIN, asked, place, [&] {
                             return ssh_channel_open_session(channel);
                           }));
  if (opened != SSH_OK) return failed();
  GANTRY_PLUGIN_TRY_ASSIGN(const int started, Until(session, SSH_AGAIN, asked, place, [&] {
                             return config.subsystem.empty()
                                        ? ssh_channel_request_exec(channel, config.command.c_str())
                                        : ssh_channel_request_subsystem(channel,
                                                                        config.subsystem.c_str());
                           }));
  if (started != SSH_OK)
    return Fail(code::kFailedPrecondition,
                place + ": the server does not run gantry-target: " + ssh_get_error(session));
  return connection;
}

Result<std::string> SshConnection::Exchange(const std::string& line, const Asked& asked) {
  ssh_session session = parts_->session.get();
  ssh_channel channel = parts_->channel.get();
  const std::string place = Place(parts_->config);
  std::string text = line + "\n";
  size_t sent = 0;
  std::string reply;
  std::string complaint;
  std::array<char, 32768> buffer;
  for (;;) {
    bool moved = false;
    if (sent < text.size()) {
      const auto piece = static_cast<uint32_t>(std::min(text.size() - sent, buffer.size()));
      const int n = ssh_channel_write(channel, text.data() + sent, piece);
      if (n > 0) sent += static_cast<size_t>(n);
      moved = n > 0;
      if (n < 0 && n != SSH_AGAIN) {
        target::WipeText(&text);
        return Fail(code::kUnavailable, place + ": " + ssh_get_error(session));
      }
      if (sent == text.size()) target::WipeText(&text), sent = 0;
    }
    for (const int is_stderr : {1, 0}) {
      const int n = ssh_channel_read_nonblocking(channel, buffer.data(), buffer.size(), is_stderr);
      if (n <= 0) continue;
      moved = true;
      auto& into = is_stderr != 0 ? complaint : reply;
      constexpr size_t kComplaintBytesMax = 1024;
      const size_t room =
          (is_stderr != 0 ? kComplaintBytesMax : target::kLineBytesMax + 1) - into.size();
      into.append(buffer.data(), std::min(room, static_cast<size_t>(n)));
    }
    if (const size_t end = reply.find('\n'); end != std::string::npos) {
      reply.resize(end);
      return reply;
    }
    if (reply.size() > target::kLineBytesMax)
      return Fail(code::kInternal, place + ": a reply longer than a line may be");
    if (moved) continue;
    if (ssh_channel_is_eof(channel) != 0 || ssh_is_connected(session) == 0)
      return Fail(code::kUnavailable, place + ": gantry-target ended without a reply" +
                                          (complaint.empty() ? "" : ": " + complaint));
    if (auto may = MayGoOn(asked, place); !may) {
      target::WipeText(&text);
      return tl::unexpected(std::move(may.error()));
    }
    WaitFor(ssh_get_fd(session), EventsOf(session), asked);
  }
}

}  // namespace gantry::iscsi::target_client
