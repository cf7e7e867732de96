-- The highest token that each resource has seen.
CREATE TABLE dlock_fences (
    resource text PRIMARY KEY,
    token bigint NOT NULL
);

-- Refuses a token lower than the highest that the resource has seen, and remembers any other. To be called first in every
-- transaction that reads or writes what the lock protects: until that ends, no other of the same resource gets past it.
CREATE FUNCTION dlock_fence(resource text, token bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dlock_fences AS fence VALUES (dlock_fence.resource, dlock_fence.token)
    ON CONFLICT ON CONSTRAINT dlock_fences_pkey DO UPDATE SET token = excluded.token
    WHERE fence.token <= excluded.token;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'token % of % is stale: the lock has passed on', dlock_fence.token, dlock_fence.resource
            USING ERRCODE = 'LK001';
    END IF;
END
$$;
