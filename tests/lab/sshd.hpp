// SPDX-License-Identifier: Apache-2.0
// A real sshd for the life of an object: on a free port of the loopback, with host key, client key and
// forced command of its own, for the user who runs the test. Nothing of /etc/ssh or ~/.ssh is used.
#pragma once

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "host/base/error.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::lab {

// Ended by the destructor, and by itself when the thread that started it dies. Not thread-safe.
class Sshd {
 public:
  // `command` is what the client's key may run, and nothing else; a line for a shell.
  static base::Result<Sshd> Start(const std::string& command);
  Sshd(Sshd&&) noexcept = default;
  Sshd& operator=(Sshd&&) noexcept = default;
  ~Sshd();

  // Ends the server and the processes of its connections; Restart brings it back at its port.
  base::Status Kill();
  base::Status Restart();
  // SIGSTOP and SIGCONT to the server alone: new connections are taken by the kernel and not served.
  base::Status Freeze() { return child_.Kill(SIGSTOP); }
  base::Status Thaw() { return child_.Kill(SIGCONT); }

  uint16_t port() const { return port_; }
  const std::string& user() const { return user_; }
  // "ssh-ed25519 AAAA..."
  const std::string& host_key() const { return host_key_; }
  // The private key's text.
  const std::string& client_key() const { return client_key_; }
  // A key that the server does not know.
  base::Result<std::string> OtherKey();
  std::filesystem::path log() const { return directory_->path() / "log"; }

 private:
  Sshd() = default;
  base::Status Launch();

  std::unique_ptr<base::TempDir> directory_;
  base::Child child_;
  uint16_t port_ = 0;
  std::string user_;
  std::string host_key_;
  std::string client_key_;
};

}  // namespace gantry::lab
