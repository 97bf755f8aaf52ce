// SPDX-License-Identifier: GPL-3.0-or-later
// A child of vfork(2), which shares the memory of its parent, makes sockets and executes a
// program, while other threads of the parent make theirs. Prints how often that went wrong.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMES = 100, THREADS = 4 };
static int failed;

static int made(void) {
    static const int families[] = {AF_INET, AF_INET6}, kinds[] = {SOCK_STREAM, SOCK_DGRAM};
    int wrong = 0;
    for (int n = 0; n < 4; n++) {
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
        int family = families[n % 2], fd = socket(family, kinds[n / 2], 0);
        const void *where = family == AF_INET ? (void *)&four : (void *)&six;
        wrong += fd < 0 || bind(fd, where, family == AF_INET ? sizeof four : sizeof six);
        close(fd);
    }
    return wrong;
}

static void *thread(void *unused) {
    for (int n = 0; n < TIMES; n++)
        __atomic_add_fetch(&failed, made(), __ATOMIC_SEQ_CST);
    return unused;
}

int main(void) {
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++)
        pthread_create(&threads[n], 0, thread, 0);
    for (int n = 0; n < TIMES; n++) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            if (made())
                _exit(1);
            execl("/bin/true", "true", (char *)0);
            _exit(2);
        }
        failed += pid < 0 || waitpid(pid, &status, 0) != pid || status;
    }
    for (int n = 0; n < THREADS; n++)
        pthread_join(threads[n], 0);
    printf("%d\n", failed);
    return 0;
}
