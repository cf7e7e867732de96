-- Once.
ALTER TABLE orders ADD COLUMN fence bigint NOT NULL DEFAULT 0;

-- The read: shows the token ($2), so that from now on no older one gets in.
UPDATE orders SET fence = $2 WHERE id = $1 AND fence <= $2 RETURNING status;

-- The write.
UPDATE orders SET fence = $2, status = $3 WHERE id = $1 AND fence <= $2 RETURNING status;
