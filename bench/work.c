/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a program does once a limit is on, in a loop for MILLISECONDS.
 *
 *     work getppid|pipe|exec|connect4|connect6 MILLISECONDS
 *     work requests|bulk MILLISECONDS [FD]    on FD, or on a connection of its own
 *     work tcp4|tcp6|udp4 MILLISECONDS THREADS
 *     work echo|sink FD                       the other end of a connection
 *     work lo WORD...                         set lo up, then become work WORD...
 *     work filtered WORD...                   under a seccomp filter that allows everything
 *
 * It prints the time of one of them in nanoseconds: elapsed over their number, and the median.
 */

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1 << 16) /* bytes in a write of bulk */
#define MOST (1 << 16)  /* samples of a thread */

typedef void unit(void);

static double milliseconds;
static int held = -1, pair[2], family = AF_INET, kind = SOCK_STREAM;
static struct sockaddr_storage listening;
static socklen_t length;
static char chunk[CHUNK];

static void must(int worked, const char *what)
{
	if (!worked) {
		perror(what);
		exit(1);
	}
}

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

/* --- what is measured --- */

static void call_getppid(void)
{
	for (int i = 0; i < 100; i++)
		getppid();
}

static void through_pipe(void)
{
	char byte = 0;
	must(write(pair[1], &byte, 1) == 1 && read(pair[0], &byte, 1) == 1, "pipe");
}

static void fork_and_exec(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		execl("/proc/self/exe", "work", "nothing", NULL);
		_exit(1);
	}
	must(waitpid(child, &status, 0) == child && status == 0, "exec");
}

static void make_socket(void)
{
	int fd = socket(family, kind, 0);
	must(fd >= 0, "socket");
	close(fd);
}

static void request(void)
{
	char words[64] = "";
	must(send(held, words, sizeof words, 0) == sizeof words, "send");
	must(recv(held, words, sizeof words, MSG_WAITALL) == sizeof words, "recv");
}

static void mebibyte(void)
{
	for (int i = 0; i < (1 << 20) / CHUNK; i++)
		must(send(held, chunk, CHUNK, 0) == CHUNK, "send");
}

/* --- measuring --- */

static int by_size(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;
	return (a > b) - (a < b);
}

static void print(double elapsed, size_t calls, double *samples, size_t count)
{
	qsort(samples, count, sizeof *samples, by_size);
	printf("%.1f %.1f\n", elapsed / calls, samples[count / 2]);
}

static void measure(unit *one, int size)
{
	static double samples[MOST];
	size_t count = 0, calls = 0;
	double start, before, after;
	for (int i = 0; i < 3; i++)
		one(); /* warm */
	start = before = now();
	do {
		one();
		after = now();
		samples[count++ % MOST] = (after - before) / size;
		calls += size;
		before = after;
	} while (after - start < milliseconds * 1e6);
	print(after - start, calls, samples, count < MOST ? count : MOST);
}

struct asker {
	pthread_t thread;
	size_t calls;
	double start, end, samples[MOST / 64];
};

static pthread_barrier_t together;
static volatile int over;

static void *ask(void *argument)
{
	struct asker *self = argument;
	pthread_barrier_wait(&together);
	self->start = now();
	while (!over) {
		double before = now();
		make_socket();
		self->end = now();
		self->samples[self->calls++ % (MOST / 64)] = self->end - before;
	}
	return NULL;
}

static void measure_threads(int threads)
{
	struct asker *askers = calloc(threads, sizeof *askers);
	double *samples = calloc(threads, sizeof askers->samples);
	double start = INFINITY, end = 0;
	size_t calls = 0, count = 0;
	must(askers && samples, "calloc");
	pthread_barrier_init(&together, NULL, threads + 1);
	for (int i = 0; i < threads; i++)
		must(!pthread_create(&askers[i].thread, NULL, ask, &askers[i]), "pthread_create");
	pthread_barrier_wait(&together);
	usleep(milliseconds * 1e3);
	over = 1;
	for (int i = 0; i < threads; i++)
		pthread_join(askers[i].thread, NULL);
	for (int i = 0; i < threads; i++) {
		if (askers[i].calls == 0)
			continue;
		start = fmin(start, askers[i].start);
		end = fmax(end, askers[i].end);
		calls += askers[i].calls;
		for (size_t j = 0; j < askers[i].calls && j < MOST / 64; j++)
			samples[count++] = askers[i].samples[j];
	}
	print(end - start, calls, samples, count);
}

/* --- connections --- */

static int be_listening(void)
{
	int fd = socket(family, SOCK_STREAM, 0);
	struct sockaddr_in *four = (void *)&listening;
	struct sockaddr_in6 *six = (void *)&listening;
	if (family == AF_INET) {
		four->sin_family = AF_INET;
		four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		length = sizeof *four;
	} else {
		six->sin6_family = AF_INET6;
		six->sin6_addr = in6addr_loopback;
		length = sizeof *six;
	}
	must(bind(fd, (void *)&listening, length) == 0 && listen(fd, 8) == 0, "listen");
	must(getsockname(fd, (void *)&listening, &length) == 0, "getsockname");
	return fd;
}

static void measure_connect(void)
{
	static double samples[MOST];
	int listener = be_listening();
	size_t count = 0;
	double start = now(), within = 0;
	struct linger at_once = {1, 0}; /* no TIME_WAIT is left behind */
	while (count < MOST && now() - start < milliseconds * 1e6) {
		int fd = socket(family, SOCK_STREAM, 0), other;
		double before = now();
		must(connect(fd, (void *)&listening, length) == 0, "connect");
		within += samples[count++] = now() - before;
		other = accept(listener, NULL, NULL);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		close(fd);
		close(other);
	}
	print(within, count, samples, count);
}

static void echo(int fd)
{
	ssize_t count;
	while ((count = recv(fd, chunk, CHUNK, 0)) > 0)
		must(send(fd, chunk, count, 0) == count, "send");
}

static void sink(int fd)
{
	while (recv(fd, chunk, CHUNK, 0) > 0)
		;
}

static void become_connected(void (*peer)(int), const char *fd)
{
	int listener, at_once = 1;
	if (fd) {
		held = atoi(fd);
	} else {
		listener = be_listening();
		held = socket(family, SOCK_STREAM, 0);
		must(connect(held, (void *)&listening, length) == 0, "connect");
		if (fork() == 0) {
			close(held);
			peer(accept(listener, NULL, NULL));
			_exit(0);
		}
		close(listener);
	}
	must(setsockopt(held, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once) == 0, "setsockopt");
}

static void set_lo_up(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	must(ioctl(fd, SIOCGIFFLAGS, &lo) == 0, "lo");
	lo.ifr_flags |= IFF_UP;
	must(ioctl(fd, SIOCSIFFLAGS, &lo) == 0, "lo");
	close(fd);
}

static void set_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {1, &allow};
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl");
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

int main(int argc, char **argv)
{
	const char *what = argv[1];
	if (argc < 3)
		return argc != 2; /* work nothing */
	if (!strcmp(what, "lo") || !strcmp(what, "filtered")) {
		*what == 'l' ? set_lo_up() : set_filter();
		execv("/proc/self/exe", argv + 1);
		return 1;
	}
	milliseconds = atof(argv[2]);
	family = strchr(what, '6') ? AF_INET6 : AF_INET;
	kind = strncmp(what, "udp", 3) ? SOCK_STREAM : SOCK_DGRAM;
	must(pipe(pair) == 0, "pipe");
	if (!strcmp(what, "getppid"))
		measure(call_getppid, 100);
	else if (!strcmp(what, "pipe"))
		measure(through_pipe, 1);
	else if (!strcmp(what, "exec"))
		measure(fork_and_exec, 1);
	else if (!strncmp(what, "connect", 7))
		measure_connect();
	else if (!strcmp(what, "requests"))
		become_connected(echo, argv[3]), measure(request, 1);
	else if (!strcmp(what, "bulk"))
		become_connected(sink, argv[3]), measure(mebibyte, 1);
	else if (!strcmp(what, "echo"))
		echo(atoi(argv[2]));
	else if (!strcmp(what, "sink"))
		sink(atoi(argv[2]));
	else
		measure_threads(argv[3] ? atoi(argv[3]) : 1);
	return 0;
}
