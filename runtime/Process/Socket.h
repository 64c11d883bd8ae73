//===- Socket.h - connections between the processes of a job --*- C++ -*-===//
//
// On one host: unix sockets without a place in the file system, where the
// kernel says whose process the peer is; nothing is left behind and nobody else
// can connect. Between hosts: TCP, bound to one address and never to all, where
// both sides prove that they know a secret before anything else is said.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_SOCKET_H
#define CLEAVE_RUNTIME_PROCESS_SOCKET_H

#include "cleave/Runtime/Program.h"

#include <chrono>
#include <string>
#include <utility>

namespace cleave::runtime {

class Deadline {
public:
  explicit Deadline(uint32_t ms) : end(Clock::now() + std::chrono::milliseconds(ms)) {}
  int remainingMs() const;
  bool passed() const { return remainingMs() == 0; }
  /// The earlier one of this and `ms` from now.
  Deadline atMost(uint32_t ms) const;

private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end;
};

/// Non-blocking.
class Socket {
public:
  explicit Socket(int fd = -1) : fd(fd) {}
  Socket(Socket &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Socket &operator=(Socket &&other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Socket() { close(); }

  void close();
  int get() const { return fd; }
  explicit operator bool() const { return fd >= 0; }

  bool readAll(void *data, size_t bytes, const Deadline &deadline);
  bool writeAll(const void *data, size_t bytes, const Deadline &deadline);

private:
  int fd;
};

/// Where somebody listens; goes from process to process as it is.
struct Address {
  uint32_t local; ///< on one host: `name` is that of the socket, else an address
  uint32_t port;
  char name[120];
};

class Listener {
public:
  /// Of TCP, port 0 takes any; `address` says then which.
  int32_t open(Address &address, cleave_error *error);
  /// None when the deadline passes.
  Socket accept(const Deadline &deadline);
  void close() { socket.close(); }

private:
  Socket socket;
  bool local = false;
};

/// Tries until somebody listens.
int32_t connectTo(const Address &address, const Deadline &deadline, Socket &socket,
                  cleave_error *error);

/// Who calls, and for what.
struct Hello {
  uint32_t rank, size, purpose;
};

/// Reads what the caller says, and whether it knows the secret; then it waits for
/// `welcome`.
bool hear(Socket &socket, const std::string &secret, Hello &hello, const Deadline &deadline);
/// What the caller is told: 0, or our number of ranks where that is another one.
bool welcome(Socket &socket, uint32_t answer, const Deadline &deadline);

enum class Greeting { Welcome, NoAnswer, WrongSecret, WrongSize };

/// `size` of `hello` becomes the listener's where it is another one.
Greeting greet(Socket &socket, const std::string &secret, Hello &hello, const Deadline &deadline);

/// The address of a network interface, or of a host. Refuses one that is not
/// there.
int32_t addressOfInterface(const char *name, Address &address, cleave_error *error);
int32_t addressOfHost(const char *name, Address &address, cleave_error *error);
/// The name of the one that has an address; "" for none.
std::string interfaceOf(const Address &address);
/// At which this end of a TCP connection is reached.
Address ownAddress(const Socket &socket);

std::string randomBytes(size_t count);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_SOCKET_H
