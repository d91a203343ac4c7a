// SPDX-License-Identifier: Apache-2.0
// gantry-target CONFIG: the program on the target's machine. Requests on stdin, replies on stdout
// (protocol.hpp), until the end of stdin. It is run as root by gantryd's exec grant, or by sshd as
// the forced command of a key that can do nothing else; it keeps no process and no port.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>

#include "plugins/iscsi/target/granted_program.hpp"
#include "plugins/iscsi/target/service.hpp"

namespace {

namespace target = gantry::iscsi::target;

constexpr int kUsage = 2;

// Answers each line as it comes; false when the peer is gone or says too much.
bool Serve(target::Service& service) {
  std::string text;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.append(buffer.data(), static_cast<size_t>(n));
    explicit_bzero(buffer.data(), static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
      if (!target::WriteLine(service.Answer(std::string_view(text).substr(begin, end - begin))))
        return false;
    // The last line may end with the input.
    if (n == 0)
      return begin == text.size() || target::WriteLine(service.Answer(text.substr(begin)));
    explicit_bzero(text.data(), begin);
    text.erase(0, begin);
    if (text.size() > target::kLineBytesMax)
      return target::WriteLine(service.Answer(text)) && false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) == "--help") {
    std::cerr
        << "usage: gantry-target CONFIG\n"
           "Answers requests on stdin, one JSON object a line, for the iSCSI target that\n"
           "CONFIG (JSON) describes. Run by gantryd or as the forced command of an SSH key.\n";
    return argc == 2 ? 0 : kUsage;
  }
  if (std::string_view(argv[1]) == "--version") {
    std::cout << "gantry-target " GANTRY_VERSION "\n";
    return 0;
  }
  target::KeepToYourself();
  auto config = target::ReadConfig(argv[1]);
  if (!config) {
    std::cerr << "gantry-target: " << config.error().message << "\n";
    return kUsage;
  }
  auto service = target::Service::Open(std::move(*config), GANTRY_VERSION);
  if (!service) {
    std::cerr << "gantry-target: " << service.error().message << "\n";
    return kUsage;
  }
  return Serve(**service) ? 0 : 1;
}
