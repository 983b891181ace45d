"""What the clients of the fault tests do to the catalog: buckets with their settings, pipelines, and tokens.

Owns: the deeds (`Deeds`, a part of harness.py's Client), and what each client was told of what it made. Names are the client's own, so
that nobody else changes what it knows.
Never does: put an object into one of these buckets; so each of them can be removed.

The rule: what was made and acknowledged is listed, with the setting that was acknowledged last; what was removed and acknowledged does
not come back; of a question that was not answered both answers are right. Python 3.11, standard library only.
"""

import json

import s3

# Names of buckets that each client makes and removes again and again, and things of a kind that it has at most.
BUCKETS, THINGS = 3, 4


def cors(origin):
    rule = f"<AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    return f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()


class Deeds:
    """`buckets[name]` is the set of what a bucket may be: None for absence, or the origin that its rule names, empty without a rule.
    `things[name]` is the set of whether a pipeline or token of that name may be there, and `ids[name]` its id."""

    def bucket(self):
        names = [f"bucket-{self.number}-{n}" for n in range(BUCKETS)]
        names = [name for name in names if len(self.buckets.get(name, {None})) == 1]
        if not names:
            return self.pipeline()
        name = self.rng.choice(names)
        is_there = self.buckets.get(name, {None}) != {None}
        method, status, after = ("DELETE", 204, None) if is_there else ("PUT", 200, "")
        self.change_bucket(name, after, status, method)

    def setting(self):
        there = [name for name, may in self.buckets.items() if len(may) == 1 and None not in may]
        if not there:
            return self.bucket()
        name = self.rng.choice(there)
        if self.rng.random() < 0.3:
            return self.change_bucket(name, "", 204, "DELETE", "?cors")
        self.counter += 1
        origin = f"http://{self.counter}.example"
        self.change_bucket(name, origin, 200, "PUT", "?cors", cors(origin))

    def change_bucket(self, name, after, status, method, query="", body=b""):
        self.buckets[name] = self.buckets.get(name, {None}) | {after}
        self.expect((status,), self.s3(method, "", query, body, bucket=name), f"{method} of {name}{query}")
        self.buckets[name] = {after}

    def pipeline(self):
        self.thing("pipeline")

    def token(self):
        # The way to them is a socket, which is not within reach everywhere.
        self.thing("token" if self.control else "pipeline")

    def thing(self, kind):
        """Makes one, or removes one."""
        mine = [name for name, may in self.things.items() if may == {True} and name.startswith(kind)]
        if len(mine) >= THINGS or (mine and self.rng.random() < 0.4):
            name = self.rng.choice(mine)
            self.things[name] = {True, False}
            self.expect((200,), self.removed(kind, self.ids[name]), f"the end of {name}")
            self.things[name] = {False}
            return
        self.counter += 1
        name = f"{kind}-{self.number}-{self.counter}"
        self.things[name] = {True, False}
        answer = self.expect((200,), self.made(kind, name), f"the making of {name}")
        made = json.loads(answer[2])
        self.ids[name] = (made["pipeline"] if kind == "pipeline" else made)["id"]
        self.things[name] = {True}

    def made(self, kind, name):
        if kind == "pipeline":
            return self.ask("POST", "/v1/pipelines/", json.dumps({"pipeline": {"name": name}}).encode())
        return self.control.ask("POST", "/tokens", json.dumps({"name": name, "scopes": ["me"]}).encode(), token=False)

    def removed(self, kind, id):
        if kind == "pipeline":
            return self.ask("DELETE", f"/v1/pipelines/{id}")
        return self.control.ask("DELETE", f"/tokens/{id}", token=False)

    def clear_catalog(self):
        """Removes what another load has left under these names."""
        for name in self.listed_buckets():
            self.expect((204,), self.s3("DELETE", "", bucket=name), f"the end of {name}")
        for kind in self.kinds():
            for name, id in self.listed(kind).items():
                self.expect((200,), self.removed(kind, id), f"the end of {name}")

    # After the restart.

    def check_catalog(self):
        self.check_buckets()
        for kind in self.kinds():
            self.check_things(kind)

    def kinds(self):
        return ("pipeline", "token") if self.control else ("pipeline",)

    def listed_buckets(self):
        _, _, body = self.expect((200,), self.s3("GET", "", bucket=""), "the list of buckets")
        return {name for name in s3.texts(body, "Buckets/Bucket/Name") if name.startswith(f"bucket-{self.number}-")}

    def listed(self, kind):
        """The ids of what is there, by name."""
        if kind == "pipeline":
            answer = self.ask("GET", "/v1/pipelines/?limit=5000")
        else:
            answer = self.control.ask("GET", "/tokens", token=False)
        _, _, body = self.expect((200,), answer, f"the list of {kind}s")
        things = {thing["name"]: thing["id"] for thing in json.loads(body)[f"{kind}s"]}
        return {name: id for name, id in things.items() if name.startswith(f"{kind}-{self.number}-")}

    def check_buckets(self):
        listed = self.listed_buckets()
        for name in sorted(listed | set(self.buckets)):
            found = self.rule(name) if name in listed else None
            may = self.buckets.get(name, {None})
            if found not in may:
                self.broke(f"{name} {state(found, may)}: its rule is {found!r}, may be {sorted(map(str, may))}")
            self.buckets[name] = {found}

    def rule(self, name):
        """The origin in the one rule of a bucket."""
        status, _, body = self.s3("GET", "", "?cors", bucket=name)
        if status not in (200, 404):
            self.broke(f"the rules of {name} are answered {status}: {body[:200]!r}")
        return "".join(s3.texts(body, "CORSRule/AllowedOrigin")) if status == 200 else ""

    def check_things(self, kind):
        found = self.listed(kind)
        known = {name for name in self.things if name.startswith(kind)}
        for name in sorted(set(found) | known):
            may = self.things.get(name, {False})
            if (name in found) not in may:
                self.broke(f"{name} {state(name in found or None, may)}")
            self.things[name], self.ids[name] = {name in found}, found.get(name)


def state(found, may):
    """What is wrong with what was found."""
    if found is None:
        return "is lost"
    return "is back" if may <= {None, False} else "is another"
