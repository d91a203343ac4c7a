// SPDX-License-Identifier: Apache-2.0
// gantry-initiator PROCESS: the program on a node whose kernel is the initiator. One request on stdin,
// one reply on stdout (protocol.hpp). It is run as root by gantryd's exec grant, for each request, and
// keeps no process, no port and no file.
//
// Rejected: the same as operations of gantry-helper: the host would have to know portals, CHAP and
// open-iscsi, and would be told the secrets of a protocol that is one plugin's; as a program of the
// plugin's it is granted like any other, and another vendor's can be as well. And iscsiadm itself as
// the granted program: it takes passwords from its command line or from files only.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>

#include "plugins/iscsi/initiator/namespaces.hpp"
#include "plugins/iscsi/initiator/service.hpp"
#include "plugins/iscsi/target/granted_program.hpp"

namespace {

namespace initiator = gantry::iscsi::initiator;
namespace target = gantry::iscsi::target;

constexpr int kUsage = 2;

// All of stdin, without a newline at its end; empty when it is more than a line may be.
std::string ReadLine() {
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
    explicit_bzero(buffer.data(), static_cast<size_t>(n));
    if (text.size() > target::kLineBytesMax) return "";
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) == "--help") {
    std::cerr
        << "usage: gantry-initiator PROCESS\n"
           "Answers a request on stdin, a JSON object in a line, for this node's iSCSI\n"
           "initiator. PROCESS is /proc/self, or the directory in /proc of a process in whose\n"
           "mount and network namespaces iscsid and multipathd live. Run by gantryd.\n";
    return argc == 2 ? 0 : kUsage;
  }
  if (std::string_view(argv[1]) == "--version") {
    std::cout << "gantry-initiator " GANTRY_VERSION "\n";
    return 0;
  }
  target::KeepToYourself();
  std::string line = ReadLine();
  if (const auto entered = initiator::EnterNamespaces(argv[1]); !entered) {
    std::cerr << "gantry-initiator: " << entered.error().message << "\n";
    return kUsage;
  }
  initiator::Service service;
  std::string reply = service.Answer(line);
  target::WipeText(&line);
  return target::WriteLine(std::move(reply)) ? 0 : 1;
}
